// Cholesky factorisation and substitution on rows of matrices, four rows at a time.
#pragma once

#include "moves.hpp"
#include "product.hpp"

namespace costogo::COSTOGO_ISA {

// row[first..end) -= s * other, on whole vectors.
template <class M>
COSTOGO_INLINE void subtract(typename M::Elem* row, int first, int end, typename M::Elem s, const typename M::Elem* other) {
    const auto factor = M::broadcast(s);
    for (int j = first / M::COLUMNS * M::COLUMNS; j < end; j += M::COLUMNS)
        store<M>(row + j, load<M>(row + j) - factor * load<M>(other + j));
}

// Rows [N | rhs] -> [U | U^-T rhs], N = U'U of up to four rows, with the columns from `first` on; the diagonal block
// stands at column `at`. The pivots go through an LDL' factorisation, whose chain of dependent operations has no roots.
template <class M, int ROWS>
COSTOGO_INLINE void eliminate_block(typename M::Elem* rows, int at, int ld, typename M::Elem* inverse,
                                    typename M::Mask& ok) {
    using Elem = typename M::Elem;
    using Vec = typename M::Vec;
    const Elem one = Elem{} + typename M::Scalar(1);
    Elem h[ROWS][ROWS], factor[ROWS][ROWS];
    COSTOGO_UNROLL
    for (int i = 0; i < ROWS; ++i)
        COSTOGO_UNROLL
        for (int j = i; j < ROWS; ++j) h[i][j] = rows[i * ld + at + j];
    COSTOGO_UNROLL
    for (int j = 0; j < ROWS; ++j) {
        const auto positive = h[j][j] > Elem{};
        ok = ok & positive;
        const Elem reciprocal = one / select(positive, h[j][j], one);
        COSTOGO_UNROLL
        for (int i = j + 1; i < ROWS; ++i) {
            factor[i][j] = h[j][i] * reciprocal;
            COSTOGO_UNROLL
            for (int m = i; m < ROWS; ++m) h[i][m] -= factor[i][j] * h[j][m];
        }
        inverse[j] = root(reciprocal);
    }
    for (int c = at / M::COLUMNS * M::COLUMNS; c < ld; c += M::COLUMNS) {
        Vec row[ROWS];
        COSTOGO_UNROLL
        for (int i = 0; i < ROWS; ++i) {
            row[i] = load<M>(rows + i * ld + c);
            COSTOGO_UNROLL
            for (int j = 0; j < i; ++j) row[i] -= M::broadcast(factor[i][j]) * row[j];
        }
        COSTOGO_UNROLL
        for (int i = 0; i < ROWS; ++i) store<M>(rows + i * ld + c, row[i] * M::broadcast(inverse[i]));
    }
}

// Rows [N | rhs] -> [U | U^-T rhs] (upper triangle of N read), four rows at a time: first what the rows above do to
// them, as a product. A pivot that is not positive counts as one.
template <class M, class D>
COSTOGO_INLINE void eliminate(int n, typename M::Elem* rows, int ld, typename M::Elem* inverse, typename M::Mask& ok) {
    for (int j = 0; j < n; j += 4) {
        typename M::Elem* block = rows + j * ld;
        const int size = n - j < 4 ? n - j : 4, first = j / M::COLUMNS * M::COLUMNS;
        if (j) multiply<M, D, Into::subtract>(size, j, rows + j, ld, 1, rows + first, ld, block + first, ld, ld - first, -1);
        switch (size) {
            case 1: eliminate_block<M, 1>(block, j, ld, inverse + j, ok); break;
            case 2: eliminate_block<M, 2>(block, j, ld, inverse + j, ok); break;
            case 3: eliminate_block<M, 3>(block, j, ld, inverse + j, ok); break;
            default: eliminate_block<M, 4>(block, j, ld, inverse + j, ok);
        }
    }
}

template <class M, int ROWS>
COSTOGO_INLINE void substitute_block(const typename M::Elem* U, int at, int ld, const typename M::Elem* inverse,
                                     typename M::Elem* Z, int first, int end) {
    using Vec = typename M::Vec;
    for (int c = first; c < end; c += M::COLUMNS) {
        Vec row[ROWS];
        COSTOGO_UNROLL
        for (int i = ROWS - 1; i >= 0; --i) {
            row[i] = load<M>(Z + i * ld + c);
            COSTOGO_UNROLL
            for (int j = i + 1; j < ROWS; ++j) row[i] -= M::broadcast(U[i * ld + at + j]) * row[j];
            row[i] = row[i] * M::broadcast(inverse[i]);
            store<M>(Z + i * ld + c, row[i]);
        }
    }
}

// Z := U^-1 Z on the columns from `from` on, rounded down to whole vectors.
template <class M, class D>
COSTOGO_INLINE void back_substitute(int n, const typename M::Elem* U, int ld, const typename M::Elem* inverse,
                                    typename M::Elem* Z, int from, int end) {
    const int first = from / M::COLUMNS * M::COLUMNS;
    for (int j = (n - 1) / 4 * 4; j >= 0; j -= 4) {
        const int size = n - j < 4 ? n - j : 4, behind = j + size;
        typename M::Elem* block = Z + j * ld;
        const auto* factor = U + j * ld;
        if (behind < n)
            multiply<M, D, Into::subtract>(size, n - behind, factor + behind, 1, ld, Z + behind * ld + first, ld,
                                           block + first, ld, end - first, -1);
        switch (size) {
            case 1: substitute_block<M, 1>(factor, j, ld, inverse + j, block, first, end); break;
            case 2: substitute_block<M, 2>(factor, j, ld, inverse + j, block, first, end); break;
            case 3: substitute_block<M, 3>(factor, j, ld, inverse + j, block, first, end); break;
            default: substitute_block<M, 4>(factor, j, ld, inverse + j, block, first, end);
        }
    }
}

}  // namespace costogo::COSTOGO_ISA
