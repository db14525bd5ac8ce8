// Standard headers come before the target: their inline functions must stay portable.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

#include "arena.hpp"
#include "calls.hpp"
#include "instruction_sets.hpp"

#if COSTOGO_X86
#define COSTOGO_ISA avx512
#define COSTOGO_ISA_NAME "AVX-512"
#define COSTOGO_VECTOR_BYTES 64
#define COSTOGO_TILE_VECTORS 3
#define COSTOGO_SIZES COSTOGO_COMMON_SIZES
COSTOGO_TARGET_BEGIN("avx512f,avx512dq,avx512vl,avx512bw,avx2,fma")
#include "kernels.hpp"
COSTOGO_TARGET_END
#endif
