"""Errors that name the argument, the value and the remedy."""

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


class CostogoError(ValueError):
    """Misuse that was found before anything was traced."""


class SolveError(CostogoError):
    """A solve failed and the caller asked for `throw=True`."""


class DerivativeError(CostogoError, TypeError):
    """A derivative was requested that this library does not provide."""


class CheckpointError(CostogoError):
    """A checkpoint is truncated, foreign or of another version."""


class MissingExtraError(CostogoError, ImportError):
    """An optional dependency is needed; the message holds the pip command."""


def known(what: str, name: str, options: Iterable[str]) -> str:
    """Return `name` if it is one of `options`; otherwise raise, with the closest match and the whole list."""
    options = list(options)
    if name in options:
        return name
    close = difflib.get_close_matches(str(name), options, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else "."
    raise CostogoError(f"unknown {what} {name!r}{hint} Known: {', '.join(options)}.")


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Say what to do where an output folder cannot be written."""
    try:
        yield
    except OSError as error:
        raise CostogoError(f"output folder {folder} is not writable: {error}; choose another with --out") from error


def writable(folder: Path) -> Path:
    """Make an output folder, or say that it cannot be written."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    return folder
