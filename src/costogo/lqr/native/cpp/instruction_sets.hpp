// Instruction sets that one binary carries, and the choice at run time.
#pragma once

#include "calls.hpp"

#if defined(__x86_64__)
#define COSTOGO_X86 1
#else
#define COSTOGO_X86 0
#endif

#define COSTOGO_PRAGMA(text) _Pragma(#text)
#if defined(__clang__)
#define COSTOGO_TARGET_BEGIN(features) COSTOGO_PRAGMA(clang attribute push(__attribute__((target(features))), apply_to = function))
#define COSTOGO_TARGET_END _Pragma("clang attribute pop")
#else
#define COSTOGO_TARGET_BEGIN(features) _Pragma("GCC push_options") COSTOGO_PRAGMA(GCC target(features))
#define COSTOGO_TARGET_END _Pragma("GCC pop_options")
#endif

// (nx, nu): pendulums and cart-poles, planar systems, the bounded LQ benchmark, quadrupeds.
#if defined(COSTOGO_GENERIC_SIZES)
#define COSTOGO_COMMON_SIZES
#else
#define COSTOGO_COMMON_SIZES                                                                       \
    COSTOGO_SIZE(2, 1) COSTOGO_SIZE(3, 1) COSTOGO_SIZE(4, 1) COSTOGO_SIZE(5, 1) COSTOGO_SIZE(4, 2) \
    COSTOGO_SIZE(8, 4) COSTOGO_SIZE(24, 24)
#endif

namespace costogo {

// The best kernels that this processor runs; COSTOGO_INSTRUCTIONS=avx512|avx2|portable asks for another.
const Kernels& best_kernels();

}  // namespace costogo
