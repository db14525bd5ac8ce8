"""Build of the native Riccati kernels. Everything else about the package stands in pyproject.toml.

Without a C++17 compiler the package installs all the same, and its sweeps run in pure JAX. COSTOGO_NATIVE=0 leaves the
kernels out, COSTOGO_NATIVE=1 makes a failed build an error.
"""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

SOURCES = Path("src/costogo/lqr/native/cpp")
WANTED = os.environ.get("COSTOGO_NATIVE", "")
# GCC's wider vectorisation (-O3) takes four times as long to compile and gains nothing: the loops that matter are
# written on vectors. Contraction to fused multiply-add is part of the C++ standard's leeway.
FLAGS = ["-std=c++17", "-O2", "-g0", "-fno-math-errno", "-ffp-contract=fast", "-fvisibility=hidden", "-Wno-psabi"]
GCC_ONLY = ["-ftree-vectorize", "-fvect-cost-model=dynamic"]


class BuildKernels(build_ext):
    """Compiles the translation units side by side; a failure leaves a note and no kernels."""

    built: frozenset[str] = frozenset()

    def build_extension(self, extension: Extension) -> None:
        """Compile and link, or explain."""
        try:
            if self.compiler.compiler_type != "unix":
                raise RuntimeError("the kernels need GCC or Clang")
            self._build(extension)
            self.built |= {extension.name}
        except Exception as error:
            if WANTED == "1":
                raise
            reason = str(error)[:80]
            note = f"costogo: native kernels not built ({reason}); the Riccati sweeps will run in pure JAX"
            print(note, file=sys.stderr, flush=True)

    def _build(self, extension: Extension) -> None:
        path = Path(self.get_ext_fullpath(extension.name))
        path.parent.mkdir(parents=True, exist_ok=True)
        include = [_xla_headers()]
        flags = FLAGS + ([] if "clang" in " ".join(self.compiler.compiler_so) else GCC_ONLY)

        def compile_one(source: str) -> str:
            return self.compiler.compile(
                [source],
                output_dir=self.build_temp,
                include_dirs=include,
                extra_postargs=flags,
                depends=extension.depends,
            )[0]

        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            objects = list(pool.map(compile_one, extension.sources))
        self.compiler.link_shared_object(objects, str(path), extra_postargs=["-pthread"], target_lang="c++")

    def get_outputs(self) -> list[str]:
        """Files to install: only what was built."""
        return [name for name in super().get_outputs() if Path(name).exists()]

    def copy_extensions_to_source(self) -> None:
        """Editable installs: the same."""
        everything, self.extensions = self.extensions, [e for e in self.extensions if e.name in self.built]
        super().copy_extensions_to_source()
        self.extensions = everything


def _xla_headers() -> str:
    """Folder of XLA's FFI header, which ships in jaxlib."""
    spec = find_spec("jaxlib")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("jaxlib is not installed in the build environment")
    return str(Path(spec.submodule_search_locations[0]) / "include")


def _extension() -> Extension:
    # The largest first, so that none is left over at the end.
    sources = sorted(SOURCES.glob("*.cpp"), key=lambda p: not p.name.startswith(("kernels_avx", "handlers")))
    headers = [str(path) for path in sorted(SOURCES.glob("*.hpp"))]
    return Extension("costogo.lqr.native._kernels", [str(p) for p in sources], depends=headers, optional=True)


setup(ext_modules=[] if WANTED == "0" else [_extension()], cmdclass={"build_ext": BuildKernels})
