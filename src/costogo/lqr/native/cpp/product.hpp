// The one matrix product of the sweeps, C (+)= X'Y, with Y (k x n) and C (m x n) in row-major storage.
//
// X is read entry by entry, X[p, i] at p * step + i * stride, so only Y and C need rows padded to whole vectors.
#pragma once

#include "vector.hpp"

namespace costogo::COSTOGO_ISA {

enum class Into { set, add, subtract };

template <class M, int MR, int NV, Into into>
COSTOGO_INLINE void tile(int k, const typename M::Elem* X, int step, int stride, const typename M::Elem* Y, int ldy,
                         typename M::Elem* C, int ldc) {
    using Vec = typename M::Vec;
    Vec sum[MR][NV];
    COSTOGO_UNROLL
    for (int i = 0; i < MR; ++i)
        COSTOGO_UNROLL
        for (int j = 0; j < NV; ++j) sum[i][j] = into == Into::set ? Vec{} : load<M>(C + i * ldc + j * M::COLUMNS);
    for (int p = 0; p < k; ++p) {
        Vec y[NV];
        COSTOGO_UNROLL
        for (int j = 0; j < NV; ++j) y[j] = load<M>(Y + p * ldy + j * M::COLUMNS);
        COSTOGO_UNROLL
        for (int i = 0; i < MR; ++i) {
            const Vec x = M::broadcast(X[p * step + i * stride]);
            COSTOGO_UNROLL
            for (int j = 0; j < NV; ++j) {
                if constexpr (into == Into::subtract)
                    sum[i][j] -= x * y[j];
                else
                    sum[i][j] += x * y[j];
            }
        }
    }
    COSTOGO_UNROLL
    for (int i = 0; i < MR; ++i)
        COSTOGO_UNROLL
        for (int j = 0; j < NV; ++j) store<M>(C + i * ldc + j * M::COLUMNS, sum[i][j]);
}

template <class M, int MR, Into into>
COSTOGO_INLINE void row_of_tiles(int k, const typename M::Elem* X, int step, int stride, const typename M::Elem* Y, int ldy,
                                 typename M::Elem* C, int ldc, int vectors) {
    constexpr int NV = COSTOGO_TILE_VECTORS;
    int j = 0;
    for (; j + NV <= vectors; j += NV) tile<M, MR, NV, into>(k, X, step, stride, Y + j * M::COLUMNS, ldy, C + j * M::COLUMNS, ldc);
    Y += j * M::COLUMNS, C += j * M::COLUMNS;
    if constexpr (NV > 2) {
        if (vectors - j == 2) return tile<M, MR, 2, into>(k, X, step, stride, Y, ldy, C, ldc);
    }
    if constexpr (NV > 1) {
        if (vectors - j == 1) return tile<M, MR, 1, into>(k, X, step, stride, Y, ldy, C, ldc);
    }
}

// `columns` counts padded columns. With `diagonal >= 0`, row i needs only the columns from `diagonal + i` on (the
// upper triangle of a symmetric result); whole vectors and tiles are computed.
template <class M, Into into>
COSTOGO_INLINE void product(int m, int k, const typename M::Elem* X, int step, int stride, const typename M::Elem* Y, int ldy,
                            typename M::Elem* C, int ldc, int columns, int diagonal) {
    constexpr int MR = 4;
    for (int i = 0; i < m; i += MR) {
        const int first = diagonal < 0 ? 0 : (diagonal + i) / M::COLUMNS * M::COLUMNS;
        const int vectors = (columns - first) / M::COLUMNS;
        const auto *x = X + i * stride, *y = Y + first;
        auto* c = C + i * ldc + first;
        switch (m - i) {
            case 1: row_of_tiles<M, 1, into>(k, x, step, stride, y, ldy, c, ldc, vectors); break;
            case 2: row_of_tiles<M, 2, into>(k, x, step, stride, y, ldy, c, ldc, vectors); break;
            case 3: row_of_tiles<M, 3, into>(k, x, step, stride, y, ldy, c, ldc, vectors); break;
            default: row_of_tiles<M, 4, into>(k, x, step, stride, y, ldy, c, ldc, vectors);
        }
    }
}

// Laid out for its sizes where these are known; shared code otherwise.
template <class M, Into into>
COSTOGO_NOINLINE void product_any(int m, int k, const typename M::Elem* X, int step, int stride, const typename M::Elem* Y, int ldy,
                                  typename M::Elem* C, int ldc, int columns, int diagonal) {
    product<M, into>(m, k, X, step, stride, Y, ldy, C, ldc, columns, diagonal);
}
template <class M, class D, Into into>
COSTOGO_INLINE void multiply(int m, int k, const typename M::Elem* X, int step, int stride, const typename M::Elem* Y, int ldy,
                             typename M::Elem* C, int ldc, int columns, int diagonal) {
    if constexpr (D::KNOWN)
        product<M, into>(m, k, X, step, stride, Y, ldy, C, ldc, columns, diagonal);
    else
        product_any<M, into>(m, k, X, step, stride, Y, ldy, C, ldc, columns, diagonal);
}

// y (+)= M x for a row-major matrix, and y += M'x. In Rows mode the dot products run over vectors.
template <class M>
COSTOGO_INLINE typename M::Elem dot(int n, const typename M::Elem* a, const typename M::Elem* b) {
    using Elem = typename M::Elem;
    Elem sum{};
    int j = 0;
    if constexpr (M::COLUMNS > 1) {
        if (n >= M::COLUMNS) {
            typename M::Vec parts{};
            for (; j + M::COLUMNS <= n; j += M::COLUMNS) parts += load<M>(a + j) * load<M>(b + j);
            sum = total<typename M::Scalar>(parts);
        }
    }
    for (; j < n; ++j) sum += a[j] * b[j];
    return sum;
}
// Zero, unless some entry is NaN or infinite: then NaN.
template <class M>
COSTOGO_INLINE typename M::Elem nothing(int n, const typename M::Elem* a) {
    using Elem = typename M::Elem;
    typename M::Vec parts{};
    Elem sum{};
    int j = 0;
    for (; j + M::COLUMNS <= n; j += M::COLUMNS) parts += load<M>(a + j) * typename M::Scalar(0);
    for (; j < n; ++j) sum += a[j] * typename M::Scalar(0);
    if constexpr (M::COLUMNS > 1) return sum + total<typename M::Scalar>(parts); else return parts;
}
template <class M>
COSTOGO_INLINE void add_product(int rows, int columns, const typename M::Elem* A, const typename M::Elem* x,
                                typename M::Elem* y) {
    for (int i = 0; i < rows; ++i) y[i] += dot<M>(columns, A + i * columns, x);
}
template <class M>
COSTOGO_INLINE void add_transposed(int rows, int columns, const typename M::Elem* A, const typename M::Elem* x,
                                   typename M::Elem* y) {
    for (int i = 0; i < rows; ++i)
        for (int j = 0; j < columns; ++j) y[j] += A[i * columns + j] * x[i];
}

}  // namespace costogo::COSTOGO_ISA
