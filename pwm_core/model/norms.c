// SPDX-License-Identifier: Apache-2.0
// LayerNorm followed by Mish or by SimNorm, forward and backward, on rows of float32.
//
// Rows are [blocks][rows][width]; each block has a gain and a bias of its own. Those of x and of its
// gradient may lie elsewhere: `block_stride` and `row_stride` say where. A row comes from memory
// once and stays in the first-level cache for all that is done to it. The loops are plain C for the
// compiler to vectorise. Rows are dealt out in `parts`, which run in parallel where the
// compiler knows OpenMP; every part has its own sums, so that the result does not depend on that.

#include <string.h>

// exp(x) = 2^k p(r), r = x - k ln 2 (polynomial of Cephes, S. Moshier); relative error 2e-7.
// Not a number stays so.
static inline float exponential(float x) {
    x = x > 88.0f ? 88.0f : x;
    x = x < -87.0f ? -87.0f : x;
    const float magic = 12582912.0f;  // 1.5 * 2^23: what is added to it is rounded to a whole number
    union { float value; unsigned bits; } power = {x * 1.44269504f + magic};
    const float k = power.value - magic;
    const float r = x - k * 0.693359375f + k * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    power.bits = (power.bits << 23) + 0x3f800000u;
    return p * power.value;
}

// y = (x - mean) scale gain + bias, with scale = 1 / sqrt(variance + epsilon) over the row.
static inline void normalise(
    long width, float epsilon, const float *restrict x, const float *restrict gain,
    const float *restrict bias, float *restrict y, float *restrict mean, float *restrict scale
) {
    float sum = 0.0f, squares = 0.0f;
    #pragma omp simd reduction(+ : sum)
    for (long i = 0; i < width; i++) sum += x[i];
    const float m = sum / width;
    #pragma omp simd reduction(+ : squares)
    for (long i = 0; i < width; i++) squares += (x[i] - m) * (x[i] - m);
    const float s = 1.0f / __builtin_sqrtf(squares / width + epsilon);
    #pragma omp simd
    for (long i = 0; i < width; i++) y[i] = (x[i] - m) * s * gain[i] + bias[i];
    *mean = m;
    *scale = s;
}

// `gradient` is that of the norm's output and becomes that of x; adds to those of gain and bias.
static inline void normalise_back(
    long width, const float *restrict x, const float *restrict gain, float mean, float scale,
    float *restrict gradient, float *restrict gain_sum, float *restrict bias_sum
) {
    float sum = 0.0f, along = 0.0f;
    #pragma omp simd reduction(+ : sum, along)
    for (long i = 0; i < width; i++) {
        const float normal = (x[i] - mean) * scale;
        gain_sum[i] += gradient[i] * normal;
        bias_sum[i] += gradient[i];
        sum += gradient[i] * gain[i];
        along += gradient[i] * gain[i] * normal;
    }
    sum /= width;
    along /= width;
    #pragma omp simd
    for (long i = 0; i < width; i++)
        gradient[i] = scale * (gradient[i] * gain[i] - sum - (x[i] - mean) * scale * along);
}

// x tanh(softplus(x)) = x n / (n + 2), n = e (e + 2), e = exp(x); beyond 20 it is x.
static inline void mish(long width, float *restrict y) {
    #pragma omp simd
    for (long i = 0; i < width; i++) {
        const float e = exponential(y[i] > 20.0f ? 20.0f : y[i]), n = e * (e + 2.0f);
        y[i] *= n / (n + 2.0f);
    }
}

// Its slope is (n + 4 v e (e + 1) / (n + 2)) / (n + 2), where v is the norm's output.
static inline void mish_back(
    long width, const float *restrict x, const float *restrict gain, const float *restrict bias,
    float mean, float scale, const float *restrict given, float *restrict gradient
) {
    #pragma omp simd
    for (long i = 0; i < width; i++) {
        const float v = (x[i] - mean) * scale * gain[i] + bias[i];
        const float e = exponential(v > 20.0f ? 20.0f : v), n = e * (e + 2.0f);
        const float d = 1.0f / (n + 2.0f);
        gradient[i] = given[i] * (n + 4.0f * v * e * (e + 1.0f) * d) * d;
    }
}

// Softmax of y / temperature over groups of the row.
static inline void simnorm(long width, long group, float temperature, float *restrict y) {
    for (long g = 0; g < width; g += group) {
        float top = y[g];
        for (long i = g; i < g + group; i++) top = y[i] > top ? y[i] : top;
        for (long i = g; i < g + group; i++) y[i] = (y[i] - top) / temperature;
    }
    #pragma omp simd
    for (long i = 0; i < width; i++) y[i] = exponential(y[i]);
    for (long g = 0; g < width; g += group) {
        float sum = 0.0f;
        for (long i = g; i < g + group; i++) sum += y[i];
        for (long i = g; i < g + group; i++) y[i] /= sum;
    }
}

static inline void simnorm_back(
    long width, long group, float temperature, const float *restrict y,
    const float *restrict given, float *restrict gradient
) {
    for (long g = 0; g < width; g += group) {
        float along = 0.0f;
        for (long i = g; i < g + group; i++) along += given[i] * y[i];
        for (long i = g; i < g + group; i++)
            gradient[i] = y[i] * (given[i] - along) / temperature;
    }
}

// A group of eight, PWM's, is worth loops of its own.
#define BY_GROUP(call, group, ...) \
    ((group) == 8 ? call(width, 8, __VA_ARGS__) : call(width, group, __VA_ARGS__))

#define DEAL_OUT \
    _Pragma("omp parallel for num_threads(parts) schedule(static, 1)") \
    for (long part = 0; part < parts; part++)
#define PLACES \
    const long block = row / rows, own = block * width, at = row * width; \
    const long x_at = block * block_stride + (row - block * rows) * row_stride;
#define ROWS_OF_PART \
    long row = blocks * rows * part / parts; row < blocks * rows * (part + 1) / parts; row++

void norm_mish(
    long parts, long blocks, long rows, long width, long block_stride, long row_stride, float epsilon, const float *x,
    const float *gain, const float *bias, float *y, float *mean, float *scale
) {
    DEAL_OUT for (ROWS_OF_PART) {
        PLACES
        normalise(width, epsilon, x + x_at, gain + own, bias + own, y + at, mean + row, scale + row);
        mish(width, y + at);
    }
}

void norm_simnorm(
    long parts, long blocks, long rows, long width, long block_stride, long row_stride, float epsilon, const float *x,
    const float *gain, const float *bias, float *y, float *mean, float *scale, long group,
    float temperature
) {
    DEAL_OUT for (ROWS_OF_PART) {
        PLACES
        normalise(width, epsilon, x + x_at, gain + own, bias + own, y + at, mean + row, scale + row);
        BY_GROUP(simnorm, group, temperature, y + at);
    }
}

// `given` is the gradient of y, `gradient` becomes that of x; sums[parts][gain, bias][blocks][width].
void norm_mish_back(
    long parts, long blocks, long rows, long width, long block_stride, long row_stride, const float *x, const float *gain,
    const float *bias, const float *mean, const float *scale, const float *given,
    float *gradient, float *sums
) {
    DEAL_OUT {
        float *gain_sum = sums + part * 2 * blocks * width, *bias_sum = gain_sum + blocks * width;
        memset(gain_sum, 0, 2 * blocks * width * sizeof(float));
        for (ROWS_OF_PART) {
            PLACES
            const float m = mean[row], s = scale[row];
            mish_back(width, x + x_at, gain + own, bias + own, m, s, given + at, gradient + x_at);
            normalise_back(
                width, x + x_at, gain + own, m, s, gradient + x_at, gain_sum + own, bias_sum + own
            );
        }
    }
}

void norm_simnorm_back(
    long parts, long blocks, long rows, long width, long block_stride, long row_stride, const float *x, const float *gain,
    const float *y, const float *mean, const float *scale, const float *given,
    float *gradient, float *sums, long group, float temperature
) {
    DEAL_OUT {
        float *gain_sum = sums + part * 2 * blocks * width, *bias_sum = gain_sum + blocks * width;
        memset(gain_sum, 0, 2 * blocks * width * sizeof(float));
        for (ROWS_OF_PART) {
            PLACES
            BY_GROUP(simnorm_back, group, temperature, y + at, given + at, gradient + x_at);
            normalise_back(
                width, x + x_at, gain + own, mean[row], scale[row], gradient + x_at,
                gain_sum + own, bias_sum + own
            );
        }
    }
}
