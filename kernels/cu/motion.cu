// How motion goes from one face to another; see motion.rs for what is computed. One block each: there are few points.

namespace motion {

// Most key points; POINTS of motion.rs.
const int POINTS = 64;
const int THREADS = 128;

struct Keypoints {
    // x, y of each point.
    float* value;
    // 2x2 matrices, row by row.
    float* jacobian;
};

struct TransferParameters {
    Keypoints source;
    Keypoints driving;
    Keypoints reference;
    Keypoints output;
    int count;
    int relative;
    int adapt_scale;
    float amount;
};
static_assert(sizeof(TransferParameters) == 80, "as in motion.rs");

struct SmoothParameters {
    Keypoints state;
    Keypoints fresh;
    int values;
    int jacobians;
    float amount;
    int unused;
};
static_assert(sizeof(SmoothParameters) == 48, "as in motion.rs");

struct Matrix {
    float m[4];
};

__device__ __forceinline__ Matrix read(const float* jacobian, int index) {
    const float4 m = reinterpret_cast<const float4*>(jacobian)[index];
    return Matrix{{m.x, m.y, m.z, m.w}};
}

__device__ __forceinline__ Matrix multiply(const Matrix& a, const Matrix& b) {
    return Matrix{{
        a.m[0] * b.m[0] + a.m[1] * b.m[2],
        a.m[0] * b.m[1] + a.m[1] * b.m[3],
        a.m[2] * b.m[0] + a.m[3] * b.m[2],
        a.m[2] * b.m[1] + a.m[3] * b.m[3],
    }};
}

// A determinant near zero is held off it.
__device__ __forceinline__ Matrix inverse(const Matrix& a) {
    const float exact = a.m[0] * a.m[3] - a.m[1] * a.m[2];
    const float determinant = fabsf(exact) < 1e-6f ? 1e-6f : exact;
    return Matrix{{a.m[3] / determinant, -a.m[1] / determinant, -a.m[2] / determinant, a.m[0] / determinant}};
}

__device__ __forceinline__ float blend(float from, float to, float amount) {
    return from + (to - from) * amount;
}

__device__ __forceinline__ Matrix blend(const Matrix& from, const Matrix& to, float amount) {
    Matrix result;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        result.m[i] = blend(from.m[i], to.m[i], amount);
    }
    return result;
}

// A number whose order among integers is the total order of floats.
__device__ __forceinline__ int order(float value) {
    const int bits = __float_as_int(value);
    return bits ^ (int)((u32)(bits >> 31) >> 1);
}

__device__ __forceinline__ bool precedes(float2 a, float2 b) {
    const int ax = order(a.x);
    const int bx = order(b.x);
    return ax < bx || (ax == bx && order(a.y) < order(b.y));
}

__device__ __forceinline__ float cross(float2 o, float2 a, float2 b) {
    return (a.x - o.x) * (b.y - o.y) - (a.y - o.y) * (b.x - o.x);
}

// The lower (from left to right) or upper (from right to left) side of the hull of sorted points, without its last one.
__device__ int side(const float2* points, int count, bool upper, float2* hull) {
    int length = 0;
    for (int i = 0; i < count; ++i) {
        const float2 point = points[upper ? count - 1 - i : i];
        while (length >= 2 && cross(hull[length - 2], hull[length - 1], point) <= 0.0f) {
            --length;
        }
        hull[length++] = point;
    }
    return max(length - 1, 0);
}

// The area between a lower and an upper side.
__device__ float area(const float2* lower, int lower_length, const float2* upper, int upper_length) {
    const int length = lower_length + upper_length;
    float sum = 0.0f;
    for (int i = 0; i < length; ++i) {
        const int next = i + 1 == length ? 0 : i + 1;
        const float2 a = i < lower_length ? lower[i] : upper[i - lower_length];
        const float2 b = next < lower_length ? lower[next] : upper[next - lower_length];
        sum += a.x * b.y - a.y * b.x;
    }
    return fabsf(sum) / 2.0f;
}

// Size of the source's face over that of the reference, for all threads of a block.
__device__ float relative_size(const TransferParameters& p) {
    __shared__ float2 points[2][POINTS];
    __shared__ float2 sorted[2][POINTS];
    __shared__ float2 hulls[2][2][POINTS];
    __shared__ int lengths[2][2];
    __shared__ float areas[2];
    const int thread = threadIdx.x;
    const int face = thread / POINTS;
    const int index = thread % POINTS;
    if (index < p.count) {
        points[face][index] = reinterpret_cast<const float2*>(face ? p.reference.value : p.source.value)[index];
    }
    __syncthreads();
    if (index < p.count) {
        // Each thread finds the place of its point.
        const float2 own = points[face][index];
        int place = 0;
        for (int i = 0; i < p.count; ++i) {
            const float2 other = points[face][i];
            place += precedes(other, own) || (i < index && !precedes(own, other));
        }
        sorted[face][place] = own;
    }
    __syncthreads();
    // A warp for each side of each face.
    if (thread % 32 == 0) {
        const int warp = thread / 32;
        lengths[warp / 2][warp % 2] = side(sorted[warp / 2], p.count, warp % 2, hulls[warp / 2][warp % 2]);
    }
    __syncthreads();
    if (index == 0) {
        areas[face] = area(hulls[face][0], lengths[face][0], hulls[face][1], lengths[face][1]);
    }
    __syncthreads();
    const float ours = areas[0];
    const float theirs = areas[1];
    // Key points that fell together tell nothing about size.
    return theirs <= 1e-6f || ours <= 1e-6f ? 1.0f : sqrtf(ours / theirs);
}

__device__ __forceinline__ void move(float* state, const float* fresh, int count, float amount) {
    for (int i = threadIdx.x; i < count; i += THREADS) {
        // What the state was is not looked at where nothing of it stays: it may have never been written.
        state[i] = amount == 1.0f ? fresh[i] : blend(state[i], fresh[i], amount);
    }
}

}  // namespace motion

extern "C" __global__ void __launch_bounds__(128) transfer(const __grid_constant__ motion::TransferParameters p) {
    using namespace motion;
    const float scale = p.relative && p.adapt_scale ? relative_size(p) : 1.0f;
    for (int i = threadIdx.x; i < p.count * 2; i += THREADS) {
        const float s = p.source.value[i];
        const float d = p.driving.value[i];
        p.output.value[i] = p.relative ? s + (d - p.reference.value[i]) * scale * p.amount : blend(s, d, p.amount);
    }
    for (int i = threadIdx.x; i < p.count; i += THREADS) {
        const Matrix s = read(p.source.jacobian, i);
        const Matrix d = read(p.driving.jacobian, i);
        Matrix result = blend(s, d, p.amount);
        if (p.relative) {
            const Matrix none{{1.0f, 0.0f, 0.0f, 1.0f}};
            const Matrix turn = multiply(d, inverse(read(p.reference.jacobian, i)));
            result = multiply(blend(none, turn, p.amount), s);
        }
        reinterpret_cast<float4*>(p.output.jacobian)[i] =
            float4{result.m[0], result.m[1], result.m[2], result.m[3]};
    }
}

extern "C" __global__ void __launch_bounds__(128) smooth(const __grid_constant__ motion::SmoothParameters p) {
    motion::move(p.state.value, p.fresh.value, p.values, p.amount);
    motion::move(p.state.jacobian, p.fresh.jacobian, p.jacobians, p.amount);
}
