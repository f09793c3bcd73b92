// Layers over a colour or a picture, into a frame of any format; see compose.rs for what is computed and how each
// number comes about: positions and runs in double precision, weights and colours in single precision.
//
// A thread paints 4 pixels of two rows, a warp 128 and a block four such pairs of rows. Four neighbours exchange what
// they painted, so that each writes 16 bytes of one row at once; where nothing is to be painted they copy 16 bytes each.

namespace composing {

typedef long long i64;

// Layers of a launch; LAYERS of compose/cuda.rs.
const int LAYERS = 16;
// Pixels across and rows of a block.
const int COLUMNS = 128;
const int ROWS = 8;
// Parts of a sample smaller than this get no weight.
const double NEGLIGIBLE = 1e-6;
// Farther out no picture reaches, and fixed point still has room.
const double FAR = 536870912.0;
const u32 EVERYONE = 0xffffffffu;

// Flags of a layer.
const u32 SEPARABLE = 1;
const u32 UPRIGHT = 2;

// Kinds of formats.
const int SUBSAMPLED = 0;
const int PACKED_3 = 3;
const int PACKED_4 = 4;

struct Plane {
    u8* data;
    u64 stride;
};

struct Layer {
    // Red, green and blue, one plane after another.
    const float* image;
    // From the frame's pixels to the image's.
    double map[6];
    double feather;
    // Of maps that rotate, in 32.32 fixed point: the first point of a pixel from its corner, and the way from one point
    // to the next along its sides; each along the image's columns and rows.
    i64 origin[2];
    i64 across[2];
    i64 down[2];
    int width;
    int height;
    // The pixels outside of which the layer touches nothing; exactly those it touches of a row where it is UPRIGHT.
    int left;
    int right;
    int top;
    int bottom;
    // The pixels of a row where it is opaque, if UPRIGHT.
    int opaque_left;
    int opaque_right;
    int points_across;
    int points_down;
    // One over their number.
    float share;
    u32 flags;
};

struct FromRgb {
    float luma[3];
    float black;
    float blue[3];
    float red[3];
};

struct ToRgb {
    float black;
    float luma;
    float blue_to_green;
    float blue_to_blue;
    float red_to_red;
    float red_to_green;
};

struct Parameters {
    Plane output[3];
    Plane background[3];
    Layer layers[LAYERS];
    FromRgb from_rgb;
    ToRgb to_rgb;
    float color[3];
    int width;
    int height;
    int count;
    // Whether the background is a picture.
    int picture;
    // Of 4:2:0: whether the colour difference is interleaved. Of the others: whether blue comes first.
    int variant;
};
static_assert(sizeof(Parameters) == 2752, "as in compose/cuda.rs");

struct Color {
    float red;
    float green;
    float blue;
};

// The samples that an output pixel averages along an axis: the weights of the first, of the last and of those between.
struct Taps {
    int first;
    int count;
    float head;
    float body;
    float tail;
};

// What a layer touches of a row, where it is opaque, and which rows of its image it shows there.
struct Span {
    int from;
    int to;
    int opaque_from;
    int opaque_to;
    Taps rows;
};

// In this order what is no number becomes the lower end.
__device__ __forceinline__ float unit(float value) {
    return fminf(fmaxf(value, 0.0f), 1.0f);
}

// The nearest code value: at 2^23 the spacing of floats is one.
__device__ __forceinline__ u32 code(float value) {
    return __float_as_uint(fminf(fmaxf(value, 0.0f), 255.0f) + 8388608.0f) & 255u;
}

__device__ __forceinline__ double within(double value, double low, double high) {
    return fmin(fmax(value, low), high);
}

__device__ __forceinline__ Taps single(int sample) {
    return Taps{sample, 1, 1.0f, 0.0f, 0.0f};
}

// Linear interpolation at `position`, in samples from the centre of the first one.
__device__ __forceinline__ Taps point(double position, int samples) {
    position = within(position, -1.0, samples);
    const double whole = floor(position);
    const double fraction = position - whole;
    const int near = min(max((int)whole, 0), samples - 1);
    const int far = min(max((int)whole + 1, 0), samples - 1);
    if (near == far || fraction < NEGLIGIBLE) {
        return single(near);
    }
    if (1.0 - fraction < NEGLIGIBLE) {
        return single(far);
    }
    return Taps{near, 2, (float)(1.0 - fraction), 0.0f, (float)fraction};
}

// The average over the `length` samples from `low` on, the outermost samples continuing outside.
__device__ __forceinline__ Taps box(double low, double length, int samples) {
    const double high = low + length;
    const double from = within(low, 0.0, samples);
    const double to = within(high, 0.0, samples);
    double before = (from - low) / length;
    double behind = (high - to) / length;
    before = before < NEGLIGIBLE ? 0.0 : before;
    behind = behind < NEGLIGIBLE ? 0.0 : behind;
    int first = (int)floor(from);
    const int end = (int)ceil(to);
    int count = end - first;
    if (count <= 0) {
        return single(before > 0.0 ? 0 : samples - 1);
    }
    if (count == 1) {
        return single(first);
    }
    double head = ((first + 1) - from) / length;
    double body = 1.0 / length;
    double tail = (to - (end - 1)) / length;
    head = (head < NEGLIGIBLE ? 0.0 : head) + before;
    body = body < NEGLIGIBLE ? 0.0 : body;
    tail = (tail < NEGLIGIBLE ? 0.0 : tail) + behind;
    const double total = head + body * (count - 2) + tail;
    const double gain = total == 0.0 ? 1.0 : 1.0 / total;
    if (head == 0.0) {
        ++first;
        --count;
        head = count == 1 ? tail : body;
    }
    if (count > 1 && tail == 0.0) {
        --count;
        tail = body;
    }
    return Taps{first, count, (float)(head * gain), (float)(body * gain), (float)(tail * gain)};
}

// Which samples output pixel `index` averages along an axis that the map scales and shifts.
__device__ __forceinline__ Taps taps(double scale, double offset, int index, int samples) {
    const double from = scale * index + offset;
    if (fabs(scale) > 1.0) {
        return box(fmin(from, from + scale), fabs(scale), samples);
    }
    return point(from + scale / 2.0 - 0.5, samples);
}

__device__ __forceinline__ float weight(const Taps& taps, int index) {
    return index == 0 ? taps.head : index == taps.count - 1 ? taps.tail : taps.body;
}

// The image where `rows` and `columns` meet.
__device__ __forceinline__ Color average(const Layer& layer, const Taps& rows, const Taps& columns) {
    const size_t plane = (size_t)layer.width * layer.height;
    const float* at = layer.image + (size_t)rows.first * layer.width + columns.first;
    float sums[3];
    if (rows.count <= 2 && columns.count <= 2) {
        // Weights of one sample are not multiplied by zero: it may be infinite.
        const bool two_rows = rows.count == 2;
        const bool two_columns = columns.count == 2;
        const size_t below = two_rows ? layer.width : 0;
        const size_t right = two_columns ? 1 : 0;
#pragma unroll
        for (int channel = 0; channel < 3; ++channel) {
            const float* upper = at + channel * plane;
            const float* lower = upper + below;
            const float a = upper[0];
            const float b = upper[right];
            const float c = lower[0];
            const float d = lower[right];
            const float near = two_rows ? a * rows.head + c * rows.tail : a * rows.head;
            const float far = two_rows ? b * rows.head + d * rows.tail : b * rows.head;
            sums[channel] = two_columns ? near * columns.head + far * columns.tail : near * columns.head;
        }
    } else {
        sums[0] = sums[1] = sums[2] = 0.0f;
        for (int i = 0; i < columns.count; ++i) {
            float line[3] = {0.0f, 0.0f, 0.0f};
            const float* value = at + i;
            for (int j = 0; j < rows.count; ++j) {
                const float share = weight(rows, j);
#pragma unroll
                for (int channel = 0; channel < 3; ++channel) {
                    line[channel] += value[channel * plane] * share;
                }
                value += layer.width;
            }
            const float share = weight(columns, i);
#pragma unroll
            for (int channel = 0; channel < 3; ++channel) {
                sums[channel] += line[channel] * share;
            }
        }
    }
    return Color{sums[0], sums[1], sums[2]};
}

__device__ __forceinline__ i64 fixed(double value) {
    return __double2ll_rn(within(value, -FAR, FAR) * 4294967296.0);
}

// Brings a position in fixed point inside `count` samples: a sample that has a next one unless there is only one, and
// the weight of that.
__device__ __forceinline__ int locate(i64 position, int count, float& fraction) {
    const i64 last = (i64)(count - 1) << 32;
    position = min(max(position, 0LL), last);
    const int sample = min((int)(position >> 32), max(count - 2, 0));
    fraction = (float)(int)((position - ((i64)sample << 32)) >> 8) * (1.0f / 16777216.0f);
    return sample;
}

// The average of the points of pixel (x, y).
__device__ __forceinline__ Color gather(const Layer& layer, int x, int y) {
    const size_t plane = (size_t)layer.width * layer.height;
    const i64 u = fixed(layer.map[0] * x + layer.map[1] * y + (layer.map[2] - 0.5)) + layer.origin[0];
    const i64 v = fixed(layer.map[3] * x + layer.map[4] * y + (layer.map[5] - 0.5)) + layer.origin[1];
    const size_t right = layer.width > 1 ? 1 : 0;
    const size_t below = layer.height > 1 ? layer.width : 0;
    float sums[3] = {0.0f, 0.0f, 0.0f};
    for (int j = 0; j < layer.points_down; ++j) {
        for (int i = 0; i < layer.points_across; ++i) {
            float across;
            float down;
            const int column = locate(u + i * layer.across[0] + j * layer.down[0], layer.width, across);
            const int row = locate(v + i * layer.across[1] + j * layer.down[1], layer.height, down);
            const float* at = layer.image + (size_t)row * layer.width + column;
#pragma unroll
            for (int channel = 0; channel < 3; ++channel) {
                const float* upper = at + channel * plane;
                const float* lower = upper + below;
                const float high = upper[0] + (upper[right] - upper[0]) * across;
                const float low = lower[0] + (lower[right] - lower[0]) * across;
                sums[channel] += high + (low - high) * down;
            }
        }
    }
    return Color{sums[0] * layer.share, sums[1] * layer.share, sums[2] * layer.share};
}

// Distances of the left end of row `y` from the left, right, upper and lower edge of the image; they change by `slopes`
// from pixel to pixel.
__device__ __forceinline__ void edges(const Layer& layer, int y, double (&starts)[4], double (&slopes)[4]) {
    const double middle = y + 0.5;
    const double u = layer.map[0] * 0.5 + layer.map[1] * middle + layer.map[2];
    const double v = layer.map[3] * 0.5 + layer.map[4] * middle + layer.map[5];
    starts[0] = u;
    starts[1] = layer.width - u;
    starts[2] = v;
    starts[3] = layer.height - v;
    slopes[0] = layer.map[0];
    slopes[1] = -layer.map[0];
    slopes[2] = layer.map[3];
    slopes[3] = -layer.map[3];
}

// The pixels of a row at least `depth` inside of the image.
__device__ __forceinline__ void run(
    const double (&starts)[4], const double (&slopes)[4], double depth, int columns, int& from, int& to) {
    double low = 0.0;
    double high = columns - 1.0;
    bool none = false;
#pragma unroll
    for (int edge = 0; edge < 4; ++edge) {
        if (slopes[edge] > 0.0) {
            low = fmax(low, ceil((depth - starts[edge]) / slopes[edge]));
        } else if (slopes[edge] < 0.0) {
            high = fmin(high, floor((depth - starts[edge]) / slopes[edge]));
        } else {
            none = none || starts[edge] < depth;
        }
    }
    none = none || !(low <= high);
    from = none ? 0 : (int)low;
    to = none ? 0 : (int)high + 1;
}

__device__ __forceinline__ Span span(const Layer& layer, int y, int columns) {
    double starts[4];
    double slopes[4];
    edges(layer, y, starts, slopes);
    Span span;
    if (layer.flags & UPRIGHT) {
        const bool touched = starts[2] >= 0.0 && starts[3] >= 0.0;
        const bool opaque = starts[2] >= layer.feather && starts[3] >= layer.feather;
        span.from = touched ? layer.left : 0;
        span.to = touched ? layer.right : 0;
        span.opaque_from = opaque ? layer.opaque_left : 0;
        span.opaque_to = opaque ? layer.opaque_right : 0;
    } else {
        run(starts, slopes, 0.0, columns, span.from, span.to);
        run(starts, slopes, layer.feather, columns, span.opaque_from, span.opaque_to);
    }
    span.rows = single(0);
    if (layer.flags & SEPARABLE) {
        span.rows = taps(layer.map[4], layer.map[5], y, layer.height);
    }
    return span;
}

// The opacity of a pixel of a layer that is not opaque there.
__device__ __forceinline__ float opacity(const Layer& layer, int x, int y) {
    double starts[4];
    double slopes[4];
    edges(layer, y, starts, slopes);
    double depth = slopes[0] * x + starts[0];
#pragma unroll
    for (int edge = 1; edge < 4; ++edge) {
        depth = fmin(depth, slopes[edge] * x + starts[edge]);
    }
    return depth >= layer.feather ? 1.0f : (float)fmax(depth / layer.feather, 0.0);
}

// Red, green and blue of the background; those of a picture are not clamped.
template <int KIND>
__device__ __forceinline__ Color below(const Parameters& p, int x, int y) {
    if (!p.picture) {
        return Color{p.color[0], p.color[1], p.color[2]};
    }
    const u8* row = p.background[0].data + y * p.background[0].stride;
    if constexpr (KIND == SUBSAMPLED) {
        const int half_x = x / 2;
        const u8* chroma = p.background[1].data + y / 2 * p.background[1].stride;
        const float blue_code = p.variant ? chroma[2 * half_x] : chroma[half_x];
        const float red_code =
            p.variant ? chroma[2 * half_x + 1] : p.background[2].data[y / 2 * p.background[2].stride + half_x];
        const float luma = (row[x] - p.to_rgb.black) * p.to_rgb.luma;
        const float blue = blue_code - 128.0f;
        const float red = red_code - 128.0f;
        return Color{
            luma + p.to_rgb.red_to_red * red,
            luma + p.to_rgb.blue_to_green * blue + p.to_rgb.red_to_green * red,
            luma + p.to_rgb.blue_to_blue * blue,
        };
    } else {
        const u8* pixel = row + (size_t)x * KIND;
        const float first = pixel[0] * (1.0f / 255.0f);
        const float green = pixel[1] * (1.0f / 255.0f);
        const float third = pixel[2] * (1.0f / 255.0f);
        return p.variant ? Color{third, green, first} : Color{first, green, third};
    }
}

// Paints column `x` of the rows `y` and, if it is there, the next, of which `spans` tells from `row` on. A row that is
// not there is the same as the other.
template <int KIND>
__device__ __forceinline__ void column(
    const Parameters& p, const Span (*spans)[ROWS], u32 active, int x, int y, int row, Color (&color)[2],
    bool (&touched)[2]) {
    // From the top down to the layer that hides the rest.
    const bool both = y + 1 < p.height;
    u32 wanted[2] = {0, 0};
    bool hidden[2] = {false, !both};
    for (u32 rest = active; rest != 0 && !(hidden[0] && hidden[1]);) {
        const int index = 31 - __clz(rest);
        rest ^= 1u << index;
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            const Span& span = spans[index][row + r];
            if (!hidden[r] && x >= span.from && x < span.to) {
                wanted[r] |= 1u << index;
                hidden[r] = x >= span.opaque_from && x < span.opaque_to;
            }
        }
    }
#pragma unroll
    for (int r = 0; r < 2; ++r) {
        touched[r] = wanted[r] != 0;
        color[r] = hidden[r] ? Color{0.0f, 0.0f, 0.0f} : below<KIND>(p, x, y + r);
    }
    // And from there up again.
    for (u32 rest = wanted[0] | wanted[1]; rest != 0; rest &= rest - 1) {
        const int index = __ffs(rest) - 1;
        const Layer& layer = p.layers[index];
        const bool separable = layer.flags & SEPARABLE;
        Taps columns = single(0);
        if (separable) {
            columns = taps(layer.map[0], layer.map[2], x, layer.width);
        }
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            if (!(wanted[r] >> index & 1)) {
                continue;
            }
            const Span& span = spans[index][row + r];
            Color value = separable ? average(layer, span.rows, columns) : gather(layer, x, y + r);
            value = Color{unit(value.red), unit(value.green), unit(value.blue)};
            if (x >= span.opaque_from && x < span.opaque_to) {
                color[r] = value;
            } else {
                const float part = opacity(layer, x, y + r);
                color[r].red += (value.red - color[r].red) * part;
                color[r].green += (value.green - color[r].green) * part;
                color[r].blue += (value.blue - color[r].blue) * part;
            }
        }
    }
    if (!both) {
        color[1] = color[0];
        touched[1] = touched[0];
    }
}

__device__ __forceinline__ u32 luma(const FromRgb& c, const Color& v) {
    return code(c.black + c.luma[0] * v.red + c.luma[1] * v.green + c.luma[2] * v.blue);
}

__device__ __forceinline__ u32 difference(const float (&c)[3], const Color& v) {
    return code(128.0f + c[0] * v.red + c[1] * v.green + c[2] * v.blue);
}

// The first `count` of 16 bytes, no byte behind them being looked at.
__device__ __forceinline__ uint4 load(const u8* from, int count) {
    const u64 address = (u64)from;
    if (count == 16 && address % 16 == 0) {
        return *(const uint4*)from;
    }
    if (count == 8 && address % 8 == 0) {
        const uint2 half = *(const uint2*)from;
        return uint4{half.x, half.y, 0, 0};
    }
    u32 words[4] = {0, 0, 0, 0};
#pragma unroll
    for (int i = 0; i < 16; ++i) {
        if (i < count) {
            words[i / 4] |= (u32)from[i] << (i % 4 * 8);
        }
    }
    return uint4{words[0], words[1], words[2], words[3]};
}

// Writes the first `count` of 16 bytes.
__device__ __forceinline__ void store(u8* to, uint4 value, int count) {
    const u64 address = (u64)to;
    if (count == 16 && address % 16 == 0) {
        *(uint4*)to = value;
    } else if (count == 8 && address % 8 == 0) {
        *(uint2*)to = uint2{value.x, value.y};
    } else {
        const u32 words[4] = {value.x, value.y, value.z, value.w};
#pragma unroll
        for (int i = 0; i < 16; ++i) {
            if (i < count) {
                to[i] = (u8)(words[i / 4] >> (i % 4 * 8));
            }
        }
    }
}

// Copies or writes a thread's part of a row.
__device__ __forceinline__ void finish(
    const Parameters& p, bool painted, int plane, int row, int offset, int count, uint4 value) {
    if (!painted) {
        value = load(p.background[plane].data + row * p.background[plane].stride + offset, count);
    }
    store(p.output[plane].data + row * p.output[plane].stride + offset, value, count);
}

template <int KIND>
__device__ __forceinline__ void compose(const Parameters& p) {
    __shared__ Span spans[LAYERS][ROWS];
    const int lane = threadIdx.x;
    const int row = threadIdx.y * 2;
    const int block_x = blockIdx.x * COLUMNS;
    const int block_y = blockIdx.y * ROWS;

    // The layers that may touch this block; every warp finds the same.
    bool near = false;
    if (lane < p.count) {
        const Layer& layer = p.layers[lane];
        near = layer.left < block_x + COLUMNS && layer.right > block_x && layer.top < block_y + ROWS &&
               layer.bottom > block_y;
    }
    const u32 active = __ballot_sync(EVERYONE, near);
    if (active != 0) {
        for (int task = threadIdx.y * 32 + lane; task < p.count * ROWS; task += 128) {
            const int index = task / ROWS;
            if (active >> index & 1) {
                spans[index][task % ROWS] = span(p.layers[index], block_y + task % ROWS, p.width);
            }
        }
        __syncthreads();
    }

    const int x = block_x + lane * 4;
    const int y = block_y + row;
    // Of the four neighbours together, who paint if any of them has to.
    const int quad_x = x & ~15;
    const int part = lane & 3;
    const bool inside = quad_x < p.width && y < p.height;
    const bool both = y + 1 < p.height;
    bool painted = !p.picture;
    for (u32 rest = active; rest != 0 && !painted; rest &= rest - 1) {
        const Span* span = &spans[__ffs(rest) - 1][row];
        painted = (span[0].from < quad_x + 16 && span[0].to > quad_x) ||
                  (both && span[1].from < quad_x + 16 && span[1].to > quad_x);
    }

    // Of 4:2:0: luma of both rows and colour difference of both pairs of columns. Else the pixels of both rows.
    u32 words[2][4] = {{0, 0, 0, 0}, {0, 0, 0, 0}};
    u32 chroma = 0;
    if (inside && painted) {
        Color left[2] = {};
#pragma unroll 1
        for (int i = 0; i < 4; ++i) {
            if (x + i >= p.width) {
                break;
            }
            Color color[2];
            bool touched[2];
            column<KIND>(p, spans, active, x + i, y, row, color, touched);
            if constexpr (KIND == SUBSAMPLED) {
#pragma unroll
                for (int r = 0; r < 2; ++r) {
                    words[r][0] |= luma(p.from_rgb, color[r]) << (8 * i);
                }
                const bool second = i & 1;
                if (second || x + i + 1 == p.width) {
                    const Color& c = color[0];
                    const Color& d = color[1];
                    const Color mean = second ? Color{
                        (left[0].red + c.red + left[1].red + d.red) * 0.25f,
                        (left[0].green + c.green + left[1].green + d.green) * 0.25f,
                        (left[0].blue + c.blue + left[1].blue + d.blue) * 0.25f,
                    } : Color{(c.red + d.red) * 0.5f, (c.green + d.green) * 0.5f, (c.blue + d.blue) * 0.5f};
                    const u32 blue = difference(p.from_rgb.blue, mean);
                    const u32 red = difference(p.from_rgb.red, mean);
                    // Interleaved, or the blue ones and then the red ones.
                    chroma |= p.variant ? (blue | red << 8) << (i / 2 * 16) : (blue | red << 16) << (i / 2 * 8);
                }
                left[0] = color[0];
                left[1] = color[1];
            } else {
#pragma unroll
                for (int r = 0; r < 2; ++r) {
                    const u32 red = code(color[r].red * 255.0f);
                    const u32 green = code(color[r].green * 255.0f);
                    const u32 blue = code(color[r].blue * 255.0f);
                    u32 pixel = p.variant ? blue | green << 8 | red << 16 : red | green << 8 | blue << 16;
                    if constexpr (KIND == PACKED_4) {
                        u32 alpha = 255;
                        if (p.picture && !touched[r] && y + r < p.height) {
                            alpha = p.background[0].data[(y + r) * p.background[0].stride + (size_t)(x + i) * 4 + 3];
                        }
                        pixel |= alpha << 24;
#pragma unroll
                        for (int word = 0; word < 4; ++word) {
                            words[r][word] = word == i ? pixel : words[r][word];
                        }
                    } else {
                        words[r][0] |= i == 0 ? pixel : i == 1 ? pixel << 24 : 0;
                        words[r][1] |= i == 1 ? pixel >> 8 : i == 2 ? pixel << 16 : 0;
                        words[r][2] |= i == 2 ? pixel >> 16 : i == 3 ? pixel << 8 : 0;
                    }
                }
            }
        }
    }

    if constexpr (KIND == SUBSAMPLED) {
        // The first and second neighbour write luma, the third interleaved colour difference, or the blue one and the
        // fourth the red one.
        u32 own[4];
#pragma unroll
        for (int from = 0; from < 4; ++from) {
            const u32 upper = __shfl_sync(EVERYONE, words[0][0], from, 4);
            const u32 lower = __shfl_sync(EVERYONE, words[1][0], from, 4);
            const u32 other = __shfl_sync(EVERYONE, chroma, from, 4);
            own[from] = part == 0 ? upper : part == 1 ? lower : other;
        }
        int plane = 0;
        int line = y + part;
        int offset = quad_x;
        int count = min(16, p.width - quad_x);
        bool present = inside && (part == 0 || both);
        if (part >= 2) {
            line = y / 2;
            if (p.variant) {
                plane = 1;
                count = min(16, (p.width + 1) / 2 * 2 - quad_x);
                present = inside && part == 2;
            } else {
                plane = part - 1;
                offset = quad_x / 2;
                count = min(8, (p.width + 1) / 2 - offset);
                present = inside;
                const int shift = part == 2 ? 0 : 16;
                own[0] = (own[0] >> shift & 0xffff) | (own[1] >> shift & 0xffff) << 16;
                own[1] = (own[2] >> shift & 0xffff) | (own[3] >> shift & 0xffff) << 16;
            }
        }
        if (present) {
            finish(p, painted, plane, line, offset, count, uint4{own[0], own[1], own[2], own[3]});
        }
    } else if constexpr (KIND == PACKED_4) {
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            if (inside && x < p.width && (r == 0 || both)) {
                const uint4 value{words[r][0], words[r][1], words[r][2], words[r][3]};
                finish(p, painted, 0, y + r, x * 4, min(16, (p.width - x) * 4), value);
            }
        }
    } else {
        // 12 words of the four neighbours: the first three write four each.
        const int count = min(16, min(16, p.width - quad_x) * 3 - part * 16);
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            u32 own[4];
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const int word = part * 4 + i;
                const u32 first = __shfl_sync(EVERYONE, words[r][0], word / 3, 4);
                const u32 second = __shfl_sync(EVERYONE, words[r][1], word / 3, 4);
                const u32 third = __shfl_sync(EVERYONE, words[r][2], word / 3, 4);
                own[i] = word % 3 == 0 ? first : word % 3 == 1 ? second : third;
            }
            if (inside && part < 3 && count > 0 && (r == 0 || both)) {
                finish(p, painted, 0, y + r, quad_x * 3 + part * 16, count, uint4{own[0], own[1], own[2], own[3]});
            }
        }
    }
}

}  // namespace composing

extern "C" __global__ void __launch_bounds__(128, 5) compose_subsampled(const __grid_constant__ composing::Parameters p) {
    composing::compose<composing::SUBSAMPLED>(p);
}

extern "C" __global__ void __launch_bounds__(128, 5) compose_packed_3(const __grid_constant__ composing::Parameters p) {
    composing::compose<composing::PACKED_3>(p);
}

extern "C" __global__ void __launch_bounds__(128, 5) compose_packed_4(const __grid_constant__ composing::Parameters p) {
    composing::compose<composing::PACKED_4>(p);
}
