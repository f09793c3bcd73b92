// A video frame to the input of a network: crop, resize, colour, range, in one pass. The CPU twin is src/sample.rs, which
// says what is computed; the helpers here follow those of src/resample.
//
// A block computes 2 rows of up to 256 columns of one crop, a thread 4 neighbouring pixels. Positions are worked out in
// double precision, as on the CPU: 1 / 64 of the speed on many GPUs, so once for a column and a block, not for each pixel.

namespace sampling {

enum Format { PACKED3 = 0, PACKED4 = 1, NV12 = 2, I420 = 3 };

enum Outside { ZERO = 0, REPLICATE = 1, MIRROR = 2 };

// Rows of a block, which is as many threads high.
constexpr int ROWS = 2;
// Most columns of a block: 64 threads wide, 4 columns each.
constexpr int COLUMNS = 256;
// Values of a blended row that are kept at a time.
constexpr int LINE = 2048;
// As in axis.rs.
constexpr int MIRRORED = 4096;
constexpr float NEGLIGIBLE = 1e-6f;

struct Plane {
    const u8* data;
    u64 stride;
};

// The way from the pixels of one output to those of the frame.
struct Crop {
    // [a, b, tx, c, d, ty]: x' = a x + b y + tx, y' = c x + d y + ty.
    double map[6];
    // From one point of a pixel to the next, in samples with 32 fractional bits: of luma (or the only plane) and of colour
    // difference each along a row and along a column of points, each to the right and downwards.
    long long steps[2][2][2];
    // Points along a row and along a column of a pixel, of the same two; all 0 where the map turns nothing.
    u8 points[2][2];
    u32 unused;
};

struct Parameters {
    Plane planes[3];
    void* output;
    int width, height;
    int columns, rows;
    int outside;
    // The frame's blue comes first, the output is interleaved, the output's blue comes first, the output is half precision.
    int swapped, interleaved, bgr, half;
    int unused;
    // Code value of black, luma to all, blue difference to green and to blue, red difference to red and to green.
    float black, luma, blue_to_green, blue_to_blue, red_to_red, red_to_green;
    float constant[3];
    float gain[3];
    float bias[3];
    int unused_too;
    Crop crops[32];
};

// What an output pixel takes along one axis: `count` samples from `first` on, not yet mirrored.
struct Window {
    int first;
    int count;
    // Weights of the first sample, of each of those between, and of the last if there are two.
    float lead, body, tail;
    // Weights of the samples that stand for all that is farther out.
    float low, high;
};

__device__ __forceinline__ double within(double value, double least, double most) {
    return fmin(fmax(value, least), most);
}

// 0 to 1, and 0 for what is no number.
__device__ __forceinline__ float unit(float value) {
    return fminf(fmaxf(value, 0.0f), 1.0f);
}

// The sample that stands for one outside of a mirrored plane.
__device__ __forceinline__ int fold(int index, int samples) {
    if (static_cast<u32>(index) < static_cast<u32>(samples)) {
        return index;
    }
    if (samples == 1) {
        return 0;
    }
    const int period = 2 * (samples - 1);
    int folded = index % period;
    if (folded < 0) {
        folded += period;
    }
    return min(folded, period - folded);
}

__device__ __forceinline__ int reach(int samples) {
    return max(samples, MIRRORED);
}

// The sample of Window::low.
__device__ __forceinline__ int lowest(int samples, int outside) {
    return outside == MIRROR ? fold(-reach(samples), samples) : 0;
}

// The sample of Window::high.
__device__ __forceinline__ int highest(int samples, int outside) {
    return outside == MIRROR ? fold(samples - 1 + reach(samples), samples) : samples - 1;
}

// The window of output pixel `output`, which covers from scale * output + offset on.
__device__ Window window(double scale, double offset, int output, int samples, int outside) {
    Window w = {0, 0, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f};
    const double from = scale * output + offset;
    if (fabs(scale) <= 1.0) {
        // Linear interpolation. Replicating the position is the same as replicating the samples.
        const double far = reach(samples);
        const double position = outside == REPLICATE ? within(from + scale / 2.0 - 0.5, 0.0, samples - 1)
                                                     : within(from + scale / 2.0 - 0.5, -far - 1.0, samples + far);
        const double whole = floor(position);
        const double fraction = position - whole;
        const float full = outside == ZERO ? 0.0f : 1.0f;
        w.first = static_cast<int>(whole);
        w.lead = static_cast<float>(1.0 - fraction);
        w.tail = static_cast<float>(fraction);
        w.count = 2;
        if (w.tail < NEGLIGIBLE) {
            w.count = 1;
            w.lead = fmaxf(w.lead, full);
        } else if (w.lead < NEGLIGIBLE) {
            w.count = 1;
            w.first += 1;
            w.lead = fmaxf(w.tail, full);
        }
        if (outside == ZERO) {
            if (w.first < 0) {
                w.first += 1;
                w.count -= 1;
                w.lead = w.tail;
            }
            if (w.first < 0 || w.first >= samples) {
                w.count = 0;
                w.first = w.first < 0 ? 0 : samples;
            } else if (w.first + w.count > samples) {
                w.count = 1;
            }
        }
        if (w.count < 2) {
            w.tail = 0.0f;
        }
        if (w.count < 1) {
            w.lead = 0.0f;
        }
        return w;
    }
    // The average of all that is covered, parts of samples counting as such.
    const double length = fabs(scale);
    const double low = fmin(from, from + scale), high = low + length;
    const double far = outside == MIRROR ? reach(samples) : 0;
    const double begin = within(low, -far, samples + far), end = within(high, -far, samples + far);
    const double first = floor(begin), behind = ceil(end);
    const float share = 1.0f / static_cast<float>(length);
    const auto keep = [](float weight) { return weight < NEGLIGIBLE ? 0.0f : weight; };
    w.first = static_cast<int>(first);
    w.count = static_cast<int>(behind) - w.first;
    if (w.count > 0) {
        w.lead = keep(static_cast<float>(fmin(end, first + 1.0) - begin) * share);
    }
    if (w.count > 1) {
        w.body = keep(share);
        w.tail = keep(static_cast<float>(end - (behind - 1.0)) * share);
    }
    if (outside != ZERO) {
        // A box that is all outside has more than its length there.
        if (low < begin) {
            w.low = keep(static_cast<float>(fmin((begin - low) / length, 1.0)));
        }
        if (high > end) {
            w.high = keep(static_cast<float>(fmin((high - end) / length, 1.0)));
        }
        const float total = w.lead + w.body * max(w.count - 2, 0) + w.tail + w.low + w.high;
        if (total > 0.0f) {
            const float gain = 1.0f / total;
            w.lead *= gain;
            w.body *= gain;
            w.tail *= gain;
            w.low *= gain;
            w.high *= gain;
        }
    }
    return w;
}

// Which part of the pixel lies inside, for ZERO.
__device__ __forceinline__ float coverage(const Window& w) {
    return w.lead + w.body * max(w.count - 2, 0) + w.tail;
}

// The samples that two windows and all between them use: from `from` up to and without `to`.
__device__ void span(const Window& a, const Window& b, int samples, int outside, int& from, int& to) {
    const int first = min(a.first, b.first), last = max(a.first + a.count, b.first + b.count) - 1;
    const int mirror = samples - 1;
    if (outside != MIRROR || (first >= 0 && last <= mirror)) {
        from = max(first, 0);
        to = min(last, mirror) + 1;
    } else if (first < -mirror || last > 2 * mirror || last < first) {
        from = 0;
        to = samples;
    } else {
        from = first < 0 ? 0 : (last > mirror ? min(first, 2 * mirror - last) : first);
        to = (last > mirror ? mirror : (first < 0 ? max(last, -first) : last)) + 1;
    }
    if (from >= to) {
        from = samples;
        to = 0;
    }
    if (a.low > 0.0f || b.low > 0.0f) {
        const int sample = lowest(samples, outside);
        from = min(from, sample);
        to = max(to, sample + 1);
    }
    if (a.high > 0.0f || b.high > 0.0f) {
        const int sample = highest(samples, outside);
        from = min(from, sample);
        to = max(to, sample + 1);
    }
}

// The 4 bytes at `at`, of which the first `valid` may be read; the others count as 0.
__device__ __forceinline__ int4 bytes4(const u8* at, int valid, bool aligned) {
    if (aligned && valid >= 4) {
        const u32 all = __ldg(reinterpret_cast<const u32*>(at));
        return make_int4(all & 255, all >> 8 & 255, all >> 16 & 255, all >> 24);
    }
    int4 values = make_int4(__ldg(at), 0, 0, 0);
    if (valid > 1) {
        values.y = __ldg(at + 1);
    }
    if (valid > 2) {
        values.z = __ldg(at + 2);
    }
    if (valid > 3) {
        values.w = __ldg(at + 3);
    }
    return values;
}

__device__ __forceinline__ void add(float4& sum, const int4& values, float weight) {
    sum.x += values.x * weight;
    sum.y += values.y * weight;
    sum.z += values.z * weight;
    sum.w += values.w * weight;
}

// 4 neighbouring values of the rows that `w` takes, blended. `column` is where they are in the first row.
__device__ float4
blend(const u8* column, u64 stride, const Window& w, int samples, int outside, int valid, bool aligned) {
    const auto row = [&](int index) {
        const int inside = outside == MIRROR ? fold(index, samples) : index;
        return bytes4(column + static_cast<u64>(inside) * stride, valid, aligned);
    };
    float4 sum = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    if (w.count > 0) {
        add(sum, row(w.first), w.lead);
    }
    if (w.count > 2) {
        // Integers add up exactly.
        int4 total = make_int4(0, 0, 0, 0);
#pragma unroll 4
        for (int index = w.first + 1; index < w.first + w.count - 1; ++index) {
            const int4 values = row(index);
            total.x += values.x;
            total.y += values.y;
            total.z += values.z;
            total.w += values.w;
        }
        add(sum, total, w.body);
    }
    if (w.count > 1) {
        add(sum, row(w.first + w.count - 1), w.tail);
    }
    if (w.low > 0.0f) {
        add(sum, row(lowest(samples, outside)), w.low);
    }
    if (w.high > 0.0f) {
        add(sum, row(highest(samples, outside)), w.high);
    }
    return sum;
}

// Shared by the threads of a block.
struct Scratch {
    Window columns[COLUMNS];
    Window rows[ROWS];
    alignas(16) float lines[ROWS][LINE];
};

// The size of a plane and what surrounds it.
struct Picture {
    int width, height, outside;
};

// Columns of the output that this block computes.
__device__ __forceinline__ int block_columns(const Parameters& p) {
    return min(static_cast<int>(blockDim.x) * 4, p.columns - static_cast<int>(blockIdx.x * blockDim.x) * 4);
}

// Works out the windows of this block's columns and rows. `scale` is 0.5 for a plane of half size.
__device__ void weigh(const Parameters& p, const Crop& crop, const Picture& picture, double scale, Scratch& scratch) {
    const int thread = threadIdx.y * blockDim.x + threadIdx.x;
    const int count = block_columns(p);
    // What was there may still be in use.
    __syncthreads();
    // The rows come after the columns.
    for (int index = thread; index < count + ROWS; index += blockDim.x * ROWS) {
        const bool is_row = index >= count;
        // Rows behind the last one are computed like it and not stored.
        const int row = min(static_cast<int>(blockIdx.y) * ROWS + index - count, p.rows - 1);
        const int output = is_row ? row : static_cast<int>(blockIdx.x * blockDim.x) * 4 + index;
        const Window w = window(crop.map[is_row ? 4 : 0] * scale, crop.map[is_row ? 5 : 2] * scale, output,
                                is_row ? picture.height : picture.width, picture.outside);
        (is_row ? scratch.rows[index - count] : scratch.columns[index]) = w;
    }
    __syncthreads();
}

// Adds to the values of pixel `k`. An index that is only known at run time would put the whole array into memory.
template <int N>
__device__ __forceinline__ void put(const float (&sums)[N], int k, float (&values)[N][4]) {
#pragma unroll
    for (int n = 0; n < N; ++n) {
#pragma unroll
        for (int pixel = 0; pixel < 4; ++pixel) {
            values[n][pixel] += pixel == k ? sums[n] : 0.0f;
        }
    }
}

// Resamples a plane of STEP interleaved values along both axes: the N first of them, for 4 pixels. All threads of the block
// must call it, after weigh().
template <int STEP, int N>
__device__ __forceinline__ void separable(const Parameters& p, const Plane& plane, const Picture& picture,
                                          Scratch& scratch, float (&values)[N][4]) {
    // Whole samples, and starts at a multiple of 4 bytes.
    constexpr int SAMPLES = LINE / STEP / 4 * 4;
    const bool aligned = ((reinterpret_cast<u64>(plane.data) | plane.stride) & 3) == 0;
    const int count = block_columns(p);
    const int row_bytes = picture.width * STEP;
    const Window rows = scratch.rows[threadIdx.y];
    float* line = scratch.lines[threadIdx.y];
    int from, to;
    span(scratch.columns[0], scratch.columns[count - 1], picture.width, picture.outside, from, to);
    for (int n = 0; n < N; ++n) {
        for (int k = 0; k < 4; ++k) {
            values[n][k] = 0.0f;
        }
    }
    for (int start = from & ~3; start < to; start += SAMPLES) {
        const int end = min(start + SAMPLES, to);
        const int length = (end - start) * STEP;
        for (int index = threadIdx.x * 4; index < length; index += blockDim.x * 4) {
            const int byte = start * STEP + index;
            const float4 blended = blend(plane.data + byte, plane.stride, rows, picture.height, picture.outside,
                                         row_bytes - byte, aligned);
            *reinterpret_cast<float4*>(line + index) = blended;
        }
        __syncthreads();
        // One after the other: unrolled, this would take more registers than there are.
#pragma unroll 1
        for (int k = 0; k < 4; ++k) {
            const int column = threadIdx.x * 4 + k;
            if (column >= count) {
                break;
            }
            const Window w = scratch.columns[column];
            const int behind = w.first + w.count;
            float sums[N] = {};
            const auto take = [&](int sample, float weight) {
                for (int n = 0; n < N; ++n) {
                    sums[n] += line[(sample - start) * STEP + n] * weight;
                }
            };
            const auto weight = [&](int index) {
                return index == w.first ? w.lead : (index == behind - 1 ? w.tail : w.body);
            };
            if (picture.outside == MIRROR && (w.first < 0 || behind > picture.width)) {
#pragma unroll 1
                for (int index = w.first; index < behind; ++index) {
                    const int sample = fold(index, picture.width);
                    if (start <= sample && sample < end) {
                        take(sample, weight(index));
                    }
                }
            } else {
                const int last = min(behind, end);
#pragma unroll 4
                for (int index = max(w.first, start); index < last; ++index) {
                    take(index, weight(index));
                }
            }
            if (w.low > 0.0f) {
                const int sample = lowest(picture.width, picture.outside);
                if (start <= sample && sample < end) {
                    take(sample, w.low);
                }
            }
            if (w.high > 0.0f) {
                const int sample = highest(picture.width, picture.outside);
                if (start <= sample && sample < end) {
                    take(sample, w.high);
                }
            }
            put(sums, k, values);
        }
        __syncthreads();
    }
}

// Where along an axis a point falls; as `Position` in grid.rs.
struct Position {
    int sample;
    float fraction, weight;
};

__device__ Position locate(double position, int samples, int outside) {
    const double last = samples - 1;
    double inside = position;
    float weight = 1.0f;
    if (!(position >= 0.0 && position <= last)) {
        if (outside == MIRROR && samples > 1) {
            const double period = 2.0 * last;
            const double folded = position - period * floor(position / period);
            inside = within(fmin(folded, period - folded), 0.0, last);
        } else {
            inside = within(position, 0.0, last);
        }
        if (outside == ZERO) {
            weight = static_cast<float>(fmax(1.0 - fabs(position - inside), 0.0));
        }
    }
    const int sample = min(static_cast<int>(inside), max(samples - 2, 0));
    return {sample, static_cast<float>(inside - sample), weight};
}

// The first N of the STEP values at `at`.
template <int STEP, int N>
__device__ __forceinline__ void load(const u8* at, bool aligned, float (&values)[N]) {
    if (STEP == 4 && aligned) {
        const u32 all = __ldg(reinterpret_cast<const u32*>(at));
        for (int n = 0; n < N; ++n) {
            values[n] = static_cast<float>(all >> (8 * n) & 255);
        }
    } else if (STEP == 2 && aligned) {
        const u32 all = __ldg(reinterpret_cast<const u16*>(at));
        for (int n = 0; n < N; ++n) {
            values[n] = static_cast<float>(all >> (8 * n) & 255);
        }
    } else {
        for (int n = 0; n < N; ++n) {
            values[n] = static_cast<float>(__ldg(at + n));
        }
    }
}

// Adds to the sums what lies between the sample at `at` and its neighbours, `right` and `below` bytes on.
template <int STEP, int N>
__device__ __forceinline__ void add_bilinear(const u8* at, u64 right, u64 below, bool aligned, float across, float down,
                                             float weight, float (&sums)[N]) {
    float upper[N], upper_right[N], lower[N], lower_right[N];
    load<STEP>(at, aligned, upper);
    load<STEP>(at + right, aligned, upper_right);
    load<STEP>(at + below, aligned, lower);
    load<STEP>(at + below + right, aligned, lower_right);
    for (int n = 0; n < N; ++n) {
        const float above = upper[n] + (upper_right[n] - upper[n]) * across;
        const float beneath = lower[n] + (lower_right[n] - lower[n]) * across;
        sums[n] += (above + (beneath - above) * down) * weight;
    }
}

// Resamples a plane under any map: the average of a grid of points in each of `count` pixels from (x, y) on. `kind` is 0 for
// luma or the only plane, 1 for one of half size. Where `covered` is given, it gets the part of each pixel that is inside.
template <int STEP, int N>
__device__ __forceinline__ void points(const Crop& crop, int kind, const Plane& plane, const Picture& picture, int x, int y,
                                       int count, float (&values)[N][4], float* covered) {
    const double scale = kind == 0 ? 1.0 : 0.5;
    const double a = crop.map[0] * scale, b = crop.map[1] * scale, c = crop.map[3] * scale, d = crop.map[4] * scale;
    // From edges to centres, for interpolation.
    const double tx = crop.map[2] * scale - 0.5, ty = crop.map[5] * scale - 0.5;
    const int across = crop.points[kind][0], down = crop.points[kind][1];
    const float share = 1.0f / static_cast<float>(across * down);
    const bool aligned = ((reinterpret_cast<u64>(plane.data) | plane.stride) & (STEP - 1)) == 0;
    for (int n = 0; n < N; ++n) {
        for (int k = 0; k < 4; ++k) {
            values[n][k] = 0.0f;
        }
    }
    const double u = a * x + b * y + tx, v = c * x + d * y + ty;
    // Corners of the area of all pixels of this thread, which holds all points, and well inside, so that rounding does not
    // matter: every point then has a next sample to its right and below.
    const double most = count - 1, least = 1e-3;
    const bool inside = u + fmin(a * most, 0.0) + fmin(a, 0.0) + fmin(b, 0.0) >= least &&
                        u + fmax(a * most, 0.0) + fmax(a, 0.0) + fmax(b, 0.0) <= picture.width - 1 - least &&
                        v + fmin(c * most, 0.0) + fmin(c, 0.0) + fmin(d, 0.0) >= least &&
                        v + fmax(c * most, 0.0) + fmax(c, 0.0) + fmax(d, 0.0) <= picture.height - 1 - least;
    if (inside) {
        // In fixed point: integers are fast on every GPU, and their whole and fractional parts are a shift away.
        const long long(&steps)[2][2] = crop.steps[kind];
        const long long start_u = __double2ll_rn(u * 4294967296.0) + (steps[0][0] + steps[1][0]) / 2;
        const long long start_v = __double2ll_rn(v * 4294967296.0) + (steps[0][1] + steps[1][1]) / 2;
#pragma unroll 2
        for (int k = 0; k < count; ++k) {
            float sums[N] = {};
#pragma unroll 1
            for (int j = 0; j < down; ++j) {
                long long point_u = start_u + steps[0][0] * (k * across) + steps[1][0] * j;
                long long point_v = start_v + steps[0][1] * (k * across) + steps[1][1] * j;
#pragma unroll 1
                for (int i = 0; i < across; ++i) {
                    const u64 column = static_cast<u64>(point_u >> 32), row = static_cast<u64>(point_v >> 32);
                    const float right = (static_cast<u32>(point_u) >> 8) * (1.0f / (1 << 24));
                    const float below = (static_cast<u32>(point_v) >> 8) * (1.0f / (1 << 24));
                    add_bilinear<STEP>(plane.data + row * plane.stride + column * STEP, STEP, plane.stride, aligned,
                                       right, below, 1.0f, sums);
                    point_u += steps[0][0];
                    point_v += steps[0][1];
                }
            }
            put(sums, k, values);
        }
    } else {
        // A plane of one column or row has no next one.
        const u64 right = picture.width > 1 ? STEP : 0, below = picture.height > 1 ? plane.stride : 0;
#pragma unroll 1
        for (int k = 0; k < count; ++k) {
            const double corner_u = a * (x + k) + b * y + tx, corner_v = c * (x + k) + d * y + ty;
            float sums[N] = {};
            float sum = 0.0f;
#pragma unroll 1
            for (int index = 0; index < across * down; ++index) {
                const double middle_x = (index % across + 0.5) / across, middle_y = (index / across + 0.5) / down;
                const Position column =
                    locate(corner_u + (a * middle_x + b * middle_y), picture.width, picture.outside);
                const Position row = locate(corner_v + (c * middle_x + d * middle_y), picture.height, picture.outside);
                const u8* at = plane.data + row.sample * plane.stride + static_cast<u64>(column.sample) * STEP;
                const float weight = row.weight * column.weight;
                add_bilinear<STEP>(at, right, below, aligned, column.fraction, row.fraction, weight, sums);
                sum += weight;
            }
            put(sums, k, values);
            if (covered != nullptr) {
#pragma unroll
                for (int pixel = 0; pixel < 4; ++pixel) {
                    covered[pixel] = pixel == k ? sum * share : covered[pixel];
                }
            }
        }
    }
    for (int n = 0; n < N; ++n) {
        for (int k = 0; k < 4; ++k) {
            values[n][k] *= share;
        }
    }
}

__device__ __forceinline__ u32 half_bits(float value) {
    u16 bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
}

// Stores the first `count` of 4 neighbouring values at `index`.
__device__ __forceinline__ void store(const Parameters& p, u64 index, float a, float b, float c, float d, int count) {
    const bool whole = count >= 4 && (index & 3) == 0;
    if (p.half) {
        const u32 low = half_bits(a) | half_bits(b) << 16, high = half_bits(c) | half_bits(d) << 16;
        u16* output = static_cast<u16*>(p.output) + index;
        if (whole) {
            *reinterpret_cast<uint2*>(output) = make_uint2(low, high);
            return;
        }
        if (count > 0) output[0] = static_cast<u16>(low);
        if (count > 1) output[1] = static_cast<u16>(low >> 16);
        if (count > 2) output[2] = static_cast<u16>(high);
        if (count > 3) output[3] = static_cast<u16>(high >> 16);
    } else {
        float* output = static_cast<float*>(p.output) + index;
        if (whole) {
            *reinterpret_cast<float4*>(output) = make_float4(a, b, c, d);
            return;
        }
        if (count > 0) output[0] = a;
        if (count > 1) output[1] = b;
        if (count > 2) output[2] = c;
        if (count > 3) output[3] = d;
    }
}

template <int FORMAT>
__device__ __forceinline__ void sample(const Parameters& p) {
    __shared__ Scratch scratch;
    const Crop& crop = p.crops[blockIdx.z];
    const bool turned = crop.points[0][0] != 0;
    const int x = (blockIdx.x * blockDim.x + threadIdx.x) * 4, y = blockIdx.y * ROWS + threadIdx.y;
    // Pixels of this thread; even one that has none must help the others.
    const int count = y < p.rows ? max(min(p.columns - x, 4), 0) : 0;

    const Picture full = {p.width, p.height, p.outside};
    // The share of the constant comes from the coverage of luma alone: coarser colour would fringe the edge.
    const Picture half = {(p.width + 1) / 2, (p.height + 1) / 2, p.outside == MIRROR ? MIRROR : REPLICATE};
    float covered[4] = {1.0f, 1.0f, 1.0f, 1.0f};
    float red[4], green[4], blue[4];

    if (!turned) {
        weigh(p, crop, full, 1.0, scratch);
        if (p.outside == ZERO) {
            const float row = coverage(scratch.rows[threadIdx.y]);
#pragma unroll
            for (int k = 0; k < 4; ++k) {
                if (k < count) {
                    covered[k] = row * coverage(scratch.columns[threadIdx.x * 4 + k]);
                }
            }
        }
    }
    if constexpr (FORMAT == PACKED3 || FORMAT == PACKED4) {
        constexpr int STEP = FORMAT == PACKED3 ? 3 : 4;
        float values[3][4];
        if (turned) {
            points<STEP>(crop, 0, p.planes[0], full, x, y, count, values, covered);
        } else {
            separable<STEP>(p, p.planes[0], full, scratch, values);
        }
#pragma unroll
        for (int k = 0; k < 4; ++k) {
            red[k] = p.swapped ? values[2][k] : values[0][k];
            green[k] = values[1][k];
            blue[k] = p.swapped ? values[0][k] : values[2][k];
        }
    } else {
        float luma[1][4];
        if (turned) {
            points<1>(crop, 0, p.planes[0], full, x, y, count, luma, covered);
        } else {
            separable<1>(p, p.planes[0], full, scratch, luma);
            weigh(p, crop, half, 0.5, scratch);
        }
        if constexpr (FORMAT == NV12) {
            float difference[2][4];
            if (turned) {
                points<2>(crop, 1, p.planes[1], half, x, y, count, difference, nullptr);
            } else {
                separable<2>(p, p.planes[1], half, scratch, difference);
            }
#pragma unroll
            for (int k = 0; k < 4; ++k) {
                blue[k] = difference[0][k];
                red[k] = difference[1][k];
            }
        } else {
            float blue_difference[1][4], red_difference[1][4];
            if (turned) {
                points<1>(crop, 1, p.planes[1], half, x, y, count, blue_difference, nullptr);
                points<1>(crop, 1, p.planes[2], half, x, y, count, red_difference, nullptr);
            } else {
                separable<1>(p, p.planes[1], half, scratch, blue_difference);
                separable<1>(p, p.planes[2], half, scratch, red_difference);
            }
#pragma unroll
            for (int k = 0; k < 4; ++k) {
                blue[k] = blue_difference[0][k];
                red[k] = red_difference[0][k];
            }
        }
#pragma unroll
        for (int k = 0; k < 4; ++k) {
            green[k] = luma[0][k];
        }
    }

#pragma unroll
    for (int k = 0; k < 4; ++k) {
        if constexpr (FORMAT == PACKED3 || FORMAT == PACKED4) {
            red[k] *= 1.0f / 255.0f;
            green[k] *= 1.0f / 255.0f;
            blue[k] *= 1.0f / 255.0f;
        } else {
            // What is outside is black until the constant comes in.
            const float grey = (green[k] - p.black * covered[k]) * p.luma;
            const float blue_difference = (blue[k] - 128.0f) * covered[k];
            const float red_difference = (red[k] - 128.0f) * covered[k];
            red[k] = grey + p.red_to_red * red_difference;
            green[k] = grey + p.blue_to_green * blue_difference + p.red_to_green * red_difference;
            blue[k] = grey + p.blue_to_blue * blue_difference;
        }
        if (p.outside == ZERO) {
            const float rest = 1.0f - covered[k];
            red[k] += rest * p.constant[0];
            green[k] += rest * p.constant[1];
            blue[k] += rest * p.constant[2];
        }
    }

    if (count == 0) {
        return;
    }
    float first[4], second[4], third[4];
#pragma unroll
    for (int k = 0; k < 4; ++k) {
        first[k] = unit(p.bgr ? blue[k] : red[k]) * p.gain[0] + p.bias[0];
        second[k] = unit(green[k]) * p.gain[1] + p.bias[1];
        third[k] = unit(p.bgr ? red[k] : blue[k]) * p.gain[2] + p.bias[2];
    }
    const u64 pixels = static_cast<u64>(p.columns) * p.rows;
    const u64 pixel = static_cast<u64>(y) * p.columns + x;
    const u64 picture = blockIdx.z * 3 * pixels;
    if (p.interleaved) {
        const u64 index = picture + pixel * 3;
        const int values = count * 3;
        store(p, index, first[0], second[0], third[0], first[1], values);
        store(p, index + 4, second[1], third[1], first[2], second[2], values - 4);
        store(p, index + 8, third[2], first[3], second[3], third[3], values - 8);
    } else {
        const u64 index = picture + pixel;
        store(p, index, first[0], first[1], first[2], first[3], count);
        store(p, index + pixels, second[0], second[1], second[2], second[3], count);
        store(p, index + 2 * pixels, third[0], third[1], third[2], third[3], count);
    }
}

}  // namespace sampling

extern "C" __global__ void __launch_bounds__(128, 4) sample_packed3(const __grid_constant__ sampling::Parameters p) {
    sampling::sample<sampling::PACKED3>(p);
}

extern "C" __global__ void __launch_bounds__(128, 4) sample_packed4(const __grid_constant__ sampling::Parameters p) {
    sampling::sample<sampling::PACKED4>(p);
}

extern "C" __global__ void __launch_bounds__(128, 4) sample_nv12(const __grid_constant__ sampling::Parameters p) {
    sampling::sample<sampling::NV12>(p);
}

extern "C" __global__ void __launch_bounds__(128, 4) sample_i420(const __grid_constant__ sampling::Parameters p) {
    sampling::sample<sampling::I420>(p);
}
