"""Types, status codes, errors and progress: what every other package may import."""

from costogo.core.errors import (
    CheckpointError,
    CostogoError,
    DerivativeError,
    MissingExtraError,
    SolveError,
    known,
)
from costogo.core.status import Status

__all__ = ["CheckpointError", "CostogoError", "DerivativeError", "MissingExtraError", "SolveError", "Status", "known"]
