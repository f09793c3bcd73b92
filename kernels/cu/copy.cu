// Copies floats from tensor to tensor. A kernel of our own, since its addresses may change while a graph is replayed.
struct CopyParameters {
    const float* from;
    float* to;
    u64 count;
};

extern "C" __global__ void copy(const CopyParameters p) {
    // Both tensors start at multiples of 16 bytes: whole float4s first, then what is left.
    const u64 index = blockIdx.x * (u64)blockDim.x + threadIdx.x;
    const u64 quads = p.count / 4;
    if (index < quads) {
        reinterpret_cast<float4*>(p.to)[index] = reinterpret_cast<const float4*>(p.from)[index];
    } else if (index == quads) {
        for (u64 i = quads * 4; i < p.count; ++i) {
            p.to[i] = p.from[i];
        }
    }
}
