#include "instruction_sets.hpp"

#include <cstdlib>
#include <cstring>

namespace costogo {
namespace portable {
extern const Kernels kernels;
}
#if COSTOGO_X86
namespace avx2 {
extern const Kernels kernels;
}
namespace avx512 {
extern const Kernels kernels;
}
#endif

namespace {
const Kernels& choose() {
    const char* wanted = std::getenv("COSTOGO_INSTRUCTIONS");
    const auto allowed = [wanted](const char* name) {
        return wanted == nullptr || *wanted == '\0' || std::strcmp(wanted, name) == 0;
    };
#if COSTOGO_X86
    __builtin_cpu_init();
    const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    const bool has_avx512 = has_avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                            __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw");
    if (has_avx512 && allowed("avx512")) return avx512::kernels;
    if (has_avx2 && (allowed("avx2") || allowed("avx512"))) return avx2::kernels;
#endif
    (void)allowed;
    return portable::kernels;
}
}  // namespace

const Kernels& best_kernels() {
    static const Kernels& chosen = choose();
    return chosen;
}

}  // namespace costogo
