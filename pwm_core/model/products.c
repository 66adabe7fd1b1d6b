// SPDX-License-Identifier: Apache-2.0
// Products of float32 matrices by AVX-512, for the shapes of small networks: a few rows to a few
// thousand, widths of a hundred to a thousand.
//
// Libraries take these as well as large ones, but not without a cost per call that is as long as a
// small product, nor from where the operands lie, transposed or side by side. Here c = a b + bias is
// summed in registers, a tile of ROWS x COLUMNS at a time. As much of b as goes into a tile, DEPTH
// deep, is brought together in the first-level cache first (after Goto and van de Geijn, 2008).
//
// Element (i, j) of a lies at a[i * a_row + j * a_column], of which one is 1; b likewise. Rows of c
// lie c_row apart. Blocks are products of their own, 0 apart where they share an operand. Every sum
// has the same order, however many threads there are.

#include <string.h>

enum { ROWS = 12, LANES = 16, VECTORS = 2, COLUMNS = VECTORS * LANES, DEPTH = 256 };
enum { BAND = 32 * ROWS, SHARE = 8 * ROWS };  // rows at a time, on one thread and on several

typedef float vector __attribute__((vector_size(4 * LANES), aligned(4)));

#define INLINE static inline __attribute__((always_inline))

// c[rows][COLUMNS] = start + a[rows][depth] panel[depth][COLUMNS]; rows of start lie start_row apart.
INLINE void tile(
    long rows, long depth, const float *a, long a_row, long a_column, const float *panel,
    const float *start, long start_row, float *c, long c_row
) {
    vector sum[ROWS][VECTORS];
    for (long i = 0; i < rows; i++)
        for (long v = 0; v < VECTORS; v++)
            sum[i][v] = *(const vector *)(start + i * start_row + v * LANES);
    for (long k = 0; k < depth; k++) {
        vector b[VECTORS];
        for (long v = 0; v < VECTORS; v++) b[v] = *(const vector *)(panel + k * COLUMNS + v * LANES);
        for (long i = 0; i < rows; i++)
            for (long v = 0; v < VECTORS; v++) sum[i][v] += a[i * a_row + k * a_column] * b[v];
    }
    for (long i = 0; i < rows; i++)
        for (long v = 0; v < VECTORS; v++) *(vector *)(c + i * c_row + v * LANES) = sum[i][v];
}

// One of the two strides is 1, and loops of a known number of rows stay in registers.
#define TILE(rows, ...) \
    (a_column == 1 ? tile(rows, depth, a, a_row, 1, __VA_ARGS__) \
                   : tile(rows, depth, a, 1, a_column, __VA_ARGS__))

static void tile_of(
    long rows, long depth, const float *a, long a_row, long a_column, const float *panel,
    const float *start, long start_row, float *c, long c_row
) {
    switch (rows) {
        case ROWS: TILE(ROWS, panel, start, start_row, c, c_row); break;
        case 8: TILE(8, panel, start, start_row, c, c_row); break;
        case 4: TILE(4, panel, start, start_row, c, c_row); break;
        default: TILE(1, panel, start, start_row, c, c_row);
    }
}

// panel[depth][COLUMNS] = b[depth][columns], zeros beyond.
static void gather(
    long depth, long columns, const float *b, long b_row, long b_column, float *panel
) {
    if (columns < COLUMNS) memset(panel, 0, depth * COLUMNS * sizeof(float));
    if (b_column == 1 && columns == COLUMNS)
        for (long k = 0; k < depth; k++) memcpy(panel + k * COLUMNS, b + k * b_row, 4 * COLUMNS);
    else
        for (long j = 0; j < columns; j++)
            for (long k = 0; k < depth; k++)
                panel[k * COLUMNS + j] = b[k * b_row + j * b_column];
}

// c[rows][columns] = start + a[rows][depth] panel[depth][COLUMNS], at most COLUMNS of them.
static void strip(
    long rows, long columns, long depth, const float *a, long a_row, long a_column,
    const float *panel, const float *start, long start_row, float *c, long c_row
) {
    float edge[ROWS * COLUMNS];  // where a tile is wider than c
    for (long i = 0, high; i < rows; i += high) {
        const long left = rows - i;
        high = left >= ROWS ? ROWS : left >= 8 ? 8 : left >= 4 ? 4 : 1;
        const float *from = start + i * start_row, *own = a + i * a_row;
        float *to = c + i * c_row;
        if (columns == COLUMNS) {
            tile_of(high, depth, own, a_row, a_column, panel, from, start_row, to, c_row);
            continue;
        }
        for (long r = 0; r < high; r++)
            memcpy(edge + r * COLUMNS, from + r * start_row, columns * sizeof(float));
        tile_of(high, depth, own, a_row, a_column, panel, edge, COLUMNS, edge, COLUMNS);
        for (long r = 0; r < high; r++)
            memcpy(to + r * c_row, edge + r * COLUMNS, columns * sizeof(float));
    }
}

// c[rows][columns] = a[rows][depth] b[depth][columns] + bias[columns]. As much of a as one panel of
// b after the other meets, rows * DEPTH, is to stay in the second-level cache.
static void band(
    long rows, long columns, long depth, const float *a, long a_row, long a_column, const float *b,
    long b_row, long b_column, const float *bias, float *c, long c_row
) {
    float panel[DEPTH * COLUMNS] __attribute__((aligned(64))), first[COLUMNS] = {0};
    for (long k = 0; k < depth; k += DEPTH)
        for (long j = 0; j < columns; j += COLUMNS) {
            const long deep = depth - k < DEPTH ? depth - k : DEPTH;
            const long wide = columns - j < COLUMNS ? columns - j : COLUMNS;
            gather(deep, wide, b + k * b_row + j * b_column, b_row, b_column, panel);
            if (bias) memcpy(first, bias + j, wide * sizeof(float));
            strip(
                rows, wide, deep, a + k * a_column, a_row, a_column, panel, k ? c + j : first,
                k ? c_row : 0, c + j, c_row
            );
        }
}

void products(
    long parts, long blocks, long rows, long columns, long depth, const float *a, long a_block,
    long a_row, long a_column, const float *b, long b_block, long b_row, long b_column,
    const float *bias, long bias_block, float *c, long c_block, long c_row
) {
    const long high = parts > 1 ? SHARE : BAND, bands = (rows + high - 1) / high;
    #pragma omp parallel for num_threads(parts) schedule(static)
    for (long one = 0; one < blocks * bands; one++) {
        const long block = one / bands, i = one % bands * high;
        band(
            rows - i < high ? rows - i : high, columns, depth, a + block * a_block + i * a_row,
            a_row, a_column, b + block * b_block, b_row, b_column,
            bias ? bias + block * bias_block : NULL, c + block * c_block + i * c_row, c_row
        );
    }
}
