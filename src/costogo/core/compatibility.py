"""Placeholder: being written."""


def warn_if_affected() -> None:
    """Warn on versions of jaxlib that can deadlock."""
