"""What the command line sets before JAX starts, and what it reports about the installation."""

import os

from costogo.core.compatibility import affected


def configure() -> None:
    """Double precision for the solvers, quiet XLA, and one thread for versions of jaxlib that can deadlock."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if affected():
        os.environ.setdefault("NPROC", "1")
    import jax

    jax.config.update("jax_enable_x64", True)


def info() -> dict[str, str]:
    """Versions, device, precision and the implementation of the sweeps."""
    from importlib.metadata import version

    import jax

    from costogo.lqr import native

    device = jax.devices()[0]
    return {
        "costogo": version("costogo"),
        "jax": jax.__version__,
        "jaxlib": version("jaxlib"),
        "device": f"{device.platform}: {device.device_kind}",
        "cores": str(os.cpu_count()),
        "precision": "float64" if jax.config.read("jax_enable_x64") else "float32",
        **native.info(),
        "can deadlock": "yes, NPROC=1 is set" if affected() else "no",
    }
