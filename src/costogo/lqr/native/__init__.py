"""Native CPU kernels of the Riccati layer, where they were built; see `library` for how they are chosen."""

from costogo.lqr.native.library import implementation, info, library, set_threads

__all__ = ["implementation", "info", "library", "set_threads"]
