// Copies floats from tensor to tensor. A kernel of our own, since its addresses may change while a graph is replayed.
struct CopyParameters {
    const float* from;
    float* to;
    u64 count;
    // Whole float4s, to be copied as such: 0 where either address is no multiple of 16 bytes.
    u64 quads;
};

extern "C" __global__ void copy(const CopyParameters p) {
    // First the float4s, a thread each, then what is left, likewise.
    const u64 index = blockIdx.x * (u64)blockDim.x + threadIdx.x;
    if (index < p.quads) {
        reinterpret_cast<float4*>(p.to)[index] = reinterpret_cast<const float4*>(p.from)[index];
        return;
    }
    const u64 i = index + 3 * p.quads;
    if (i < p.count) {
        p.to[i] = p.from[i];
    }
}
