"""What commands write to the terminal."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any


def say(text: str) -> None:
    """Write a line."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def say_table(rows: Sequence[Sequence[Any]]) -> None:
    """Write rows in aligned columns; numbers to six digits."""
    cells = [[f"{value:.6g}" if isinstance(value, float) else str(value) for value in row] for row in rows]
    widths = [max(len(row[i]) for row in cells if i < len(row)) for i in range(max(map(len, cells)))]
    for row in cells:
        say("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip())


def say_rows(rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows of the same columns, whose names come first, as `say_table` does."""
    say_table([list(rows[0]), *(list(row.values()) for row in rows)])
