// Marks and heat maps on a frame in its own format; src/draw.rs says what is drawn. A thread has 2x2 pixels and, in 4:2:0,
// their sample of colour difference, so that no two threads write the same byte.

namespace drawing {

// Kinds of formats.
enum Format { PACKED3 = 0, PACKED4 = 1, NV12 = 2, I420 = 3 };

// Kinds of marks.
enum Kind { AREA = 0, DISC = 1, LETTER = 2 };

// Most marks of a launch.
constexpr int MARKS = 120;
// Cells of 2x2 pixels of a block, as many as it has threads.
constexpr int ACROSS = 32;
constexpr int DOWN = 8;
// Dots of a letter.
constexpr int DOTS_ACROSS = 5;

struct Plane {
    u8* data;
    u64 stride;
};

struct Frame {
    Plane planes[3];
    int width, height;
    int format;
    int swapped;
};

// A part of a shape, of one colour.
struct Mark {
    // The pixels that it may touch; all there are of an area, and of a letter all of its dots.
    int left, top, right, bottom;
    // Bytes of a pixel, or luma, blue and red difference.
    u8 ink[3];
    u8 kind;
    union {
        // Centre and radius of a disc.
        float disc[3];
        // Of a letter: pixels of a dot, and a bit for each dot, row by row.
        u32 letter[3];
    };
};

struct Parameters {
    Frame frame;
    // The first cell, in cells of 2x2 pixels.
    int x, y;
    int count;
    int unused;
    Mark marks[MARKS];
};

struct Colour {
    float red, green, blue;
};

struct FromRgb {
    float luma[3];
    float black;
    float blue[3];
    float red[3];
};

// The way along one axis from the pixels of the frame to the cells of the map.
struct Axis {
    int first, behind;
    float start, step;
    int cells;
    int unused;
};

struct HeatParameters {
    Frame frame;
    const float* values;
    Axis x, y;
    FromRgb from_rgb;
    Colour ramp[5];
    float opacity;
};

// Cast as Rust casts a number that is none.
__device__ __forceinline__ double number(double value) {
    return value == value ? value : 0.0;
}

// Which of the 2x2 pixels from (x, y) on the mark covers, a bit each, row by row; not yet clipped to the frame.
__device__ __forceinline__ u32 covered(const Mark& mark, int x, int y) {
    u32 bits = 0;
#pragma unroll
    for (int row = 0; row < 2; ++row) {
        if (y + row < mark.top || y + row >= mark.bottom) {
            continue;
        }
        double from = 0.0, to = 0.0;
        if (mark.kind == DISC) {
            const double center = mark.disc[0], radius = mark.disc[2];
            const double distance = (y + row) + 0.5 - mark.disc[1];
            const double half = sqrt(radius * radius - distance * distance);
            from = number(ceil(center - half - 0.5));
            to = number(floor(center + half - 0.5) + 1.0);
        }
#pragma unroll
        for (int column = 0; column < 2; ++column) {
            const int at = x + column;
            bool hit = at >= mark.left && at < mark.right;
            if (hit && mark.kind == DISC) {
                hit = at >= from && at < to;
            } else if (hit && mark.kind == LETTER) {
                const int size = static_cast<int>(mark.letter[0]);
                const int dot = (y + row - mark.top) / size * DOTS_ACROSS + (at - mark.left) / size;
                hit = (mark.letter[1 + dot / 32] >> (dot % 32) & 1) != 0;
            }
            bits |= static_cast<u32>(hit) << (2 * row + column);
        }
    }
    return bits;
}

// The pixels of the frame among the 2x2 from (x, y) on.
__device__ __forceinline__ u32 present(const Frame& frame, int x, int y) {
    const u32 row = (x < frame.width ? 1u : 0u) | (x + 1 < frame.width ? 2u : 0u);
    return (y < frame.height ? row : 0u) | (y + 1 < frame.height ? row << 2 : 0u);
}

__device__ __forceinline__ void draw(const Parameters& p) {
    __shared__ u32 hits[(MARKS + 31) / 32];
    const int thread = threadIdx.y * ACROSS + threadIdx.x;
    // Pixels of this block.
    const int left = (p.x + blockIdx.x * ACROSS) * 2, top = (p.y + blockIdx.y * DOWN) * 2;
    if (thread < (MARKS + 31) / 32) {
        hits[thread] = 0;
    }
    __syncthreads();
    if (thread < p.count) {
        const Mark& mark = p.marks[thread];
        if (mark.left < left + 2 * ACROSS && mark.right > left && mark.top < top + 2 * DOWN && mark.bottom > top) {
            atomicOr(&hits[thread / 32], 1u << (thread % 32));
        }
    }
    __syncthreads();

    const Frame& frame = p.frame;
    const int x = left + threadIdx.x * 2, y = top + threadIdx.y * 2;
    const u32 pixels = present(frame, x, y);
    // What each pixel and the sample of colour difference get in the end, and whether anything.
    u32 inks[4] = {0, 0, 0, 0}, difference = 0, touched = 0;
    for (int word = 0; word < (MARKS + 31) / 32; ++word) {
        for (u32 rest = hits[word]; rest != 0; rest &= rest - 1) {
            const Mark& mark = p.marks[word * 32 + __ffs(static_cast<int>(rest)) - 1];
            const u32 bits = covered(mark, x, y) & pixels;
            if (bits != 0) {
                const u32 ink = mark.ink[0] | mark.ink[1] << 8 | mark.ink[2] << 16;
                difference = ink;
                touched |= bits;
#pragma unroll
                for (int k = 0; k < 4; ++k) {
                    inks[k] = (bits >> k & 1) != 0 ? ink : inks[k];
                }
            }
        }
    }
    if (touched == 0) {
        return;
    }
    const bool packed = frame.format == PACKED3 || frame.format == PACKED4;
    const int step = frame.format == PACKED3 ? 3 : (frame.format == PACKED4 ? 4 : 1);
#pragma unroll
    for (int k = 0; k < 4; ++k) {
        if ((touched >> k & 1) == 0) {
            continue;
        }
        u8* at = frame.planes[0].data + (y + k / 2) * frame.planes[0].stride + static_cast<u64>(x + k % 2) * step;
        at[0] = static_cast<u8>(inks[k]);
        if (packed) {
            at[1] = static_cast<u8>(inks[k] >> 8);
            at[2] = static_cast<u8>(inks[k] >> 16);
            if (step == 4) {
                at[3] = 255;
            }
        }
    }
    const int half_x = x / 2;
    const u64 half_y = y / 2;
    if (frame.format == NV12) {
        u8* at = frame.planes[1].data + half_y * frame.planes[1].stride + 2 * half_x;
        at[0] = static_cast<u8>(difference >> 8);
        at[1] = static_cast<u8>(difference >> 16);
    } else if (frame.format == I420) {
        frame.planes[1].data[half_y * frame.planes[1].stride + half_x] = static_cast<u8>(difference >> 8);
        frame.planes[2].data[half_y * frame.planes[2].stride + half_x] = static_cast<u8>(difference >> 16);
    }
}

// 0 to 1, and 0 for what is no number.
__device__ __forceinline__ float unit(float value) {
    return fminf(fmaxf(value, 0.0f), 1.0f);
}

// The nearest code value, as `code` in color.rs.
__device__ __forceinline__ u8 code(float value) {
    return static_cast<u8>(__float_as_uint(fminf(fmaxf(value, 0.0f), 255.0f) + 8388608.0f));
}

__device__ __forceinline__ u8 mixed(u8 old, float value, float opacity) {
    const float before = old;
    return code(before + (value - before) * opacity);
}

// Two neighbouring cells of the map and how far a pixel is from the first to the second.
struct Place {
    int cell, next;
    float part;
};

__device__ __forceinline__ Place place(const Axis& axis, int pixel) {
    const int last = axis.cells - 1;
    const float position = axis.start + static_cast<float>(pixel - axis.first) * axis.step;
    const float inside = fminf(fmaxf(position, 0.0f), static_cast<float>(last));
    const int cell = min(static_cast<int>(inside), last);
    return {cell, min(cell + 1, last), inside - static_cast<float>(cell)};
}

__device__ __forceinline__ Colour heat(const HeatParameters& p, const Place& column, const Place& row) {
    const float* upper = p.values + static_cast<u64>(row.cell) * p.x.cells;
    const float* lower = p.values + static_cast<u64>(row.next) * p.x.cells;
    const float a = unit(__ldg(upper + column.cell)), b = unit(__ldg(upper + column.next));
    const float c = unit(__ldg(lower + column.cell)), d = unit(__ldg(lower + column.next));
    const float above = a + (b - a) * column.part, below = c + (d - c) * column.part;
    const float position = (above + (below - above) * row.part) * 4.0f;
    const int step = min(static_cast<int>(position), 3);
    const float part = position - static_cast<float>(step);
    const Colour& low = p.ramp[step];
    const Colour& high = p.ramp[step + 1];
    return {low.red + (high.red - low.red) * part, low.green + (high.green - low.green) * part,
            low.blue + (high.blue - low.blue) * part};
}

__device__ __forceinline__ float dot(const float (&weights)[3], float start, const Colour& colour) {
    return start + weights[0] * colour.red + weights[1] * colour.green + weights[2] * colour.blue;
}

__device__ __forceinline__ void draw_heat(const HeatParameters& p) {
    const Frame& frame = p.frame;
    const int x = (p.x.first / 2 + blockIdx.x * ACROSS + threadIdx.x) * 2;
    const int y = (p.y.first / 2 + blockIdx.y * DOWN + threadIdx.y) * 2;
    if (x >= p.x.behind || y >= p.y.behind) {
        return;
    }
    const bool packed = frame.format == PACKED3 || frame.format == PACKED4;
    const int step = frame.format == PACKED3 ? 3 : (frame.format == PACKED4 ? 4 : 1);
    const u64 half_x = x / 2, half_y = y / 2;
    u8 *blue = nullptr, *red = nullptr;
    if (frame.format == NV12) {
        blue = frame.planes[1].data + half_y * frame.planes[1].stride + 2 * half_x;
        red = blue + 1;
    } else if (frame.format == I420) {
        blue = frame.planes[1].data + half_y * frame.planes[1].stride + half_x;
        red = frame.planes[2].data + half_y * frame.planes[2].stride + half_x;
    }
    const float old_blue = packed ? 0.0f : *blue, old_red = packed ? 0.0f : *red;
    float new_blue = old_blue, new_red = old_red;
    const int there = min(frame.width - x, 2) * min(frame.height - y, 2);
    const float share = p.opacity / static_cast<float>(there);
    for (int row = y; row < min(y + 2, p.y.behind); ++row) {
        if (row < p.y.first) {
            continue;
        }
        const Place down = place(p.y, row);
        for (int column = max(x, p.x.first); column < min(x + 2, p.x.behind); ++column) {
            const Colour colour = heat(p, place(p.x, column), down);
            u8* at = frame.planes[0].data + row * frame.planes[0].stride + static_cast<u64>(column) * step;
            if (packed) {
                at[0] = mixed(at[0], (frame.swapped ? colour.blue : colour.red) * 255.0f, p.opacity);
                at[1] = mixed(at[1], colour.green * 255.0f, p.opacity);
                at[2] = mixed(at[2], (frame.swapped ? colour.red : colour.blue) * 255.0f, p.opacity);
                if (step == 4) {
                    at[3] = 255;
                }
            } else {
                at[0] = mixed(at[0], dot(p.from_rgb.luma, p.from_rgb.black, colour), p.opacity);
                new_blue += (dot(p.from_rgb.blue, 128.0f, colour) - old_blue) * share;
                new_red += (dot(p.from_rgb.red, 128.0f, colour) - old_red) * share;
            }
        }
    }
    if (!packed) {
        *blue = code(new_blue);
        *red = code(new_red);
    }
}

}  // namespace drawing

extern "C" __global__ void __launch_bounds__(256, 4) draw(const __grid_constant__ drawing::Parameters p) {
    drawing::draw(p);
}

extern "C" __global__ void __launch_bounds__(256, 4) draw_heat(const __grid_constant__ drawing::HeatParameters p) {
    drawing::draw_heat(p);
}
