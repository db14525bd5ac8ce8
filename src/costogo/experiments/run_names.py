"""Names of the runs that experiments share, so that a run is found again by its settings."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any


def run_name(setting: Any, told: Mapping[str, str]) -> str:
    """Name of a training run: the fields `told`, in its words (none if empty), what else is not the default, seed.

    `setting` is a dataclass with defaults and a `seed`.
    """
    plain = type(setting)()
    odd = [
        f"{field.name}={'x'.join(map(str, value)) if isinstance(value, tuple) else value}"
        for field in fields(setting)
        if field.name not in (*told, "seed") and (value := getattr(setting, field.name)) != getattr(plain, field.name)
    ]
    return "-".join(part for part in (*told.values(), *odd, f"seed{setting.seed}") if part)
