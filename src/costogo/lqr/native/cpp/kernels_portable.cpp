// What every machine can run: SSE2 on x86-64, NEON on arm64. Where better kernels exist, only the generic sizes.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

#include "arena.hpp"
#include "calls.hpp"
#include "instruction_sets.hpp"

#define COSTOGO_ISA portable
#define COSTOGO_ISA_NAME "portable (128 bit)"
#define COSTOGO_VECTOR_BYTES 16
#define COSTOGO_TILE_VECTORS 2
#if COSTOGO_X86
#define COSTOGO_SIZES
#else
#define COSTOGO_SIZES COSTOGO_COMMON_SIZES
#endif
#include "kernels.hpp"
