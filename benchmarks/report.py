"""What a run leaves behind: CSV files with machine, date and versions, and the tables of the docs page."""

import csv
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

Row = dict[str, Any]
# Key of the row, heading of the table, number of significant digits.
Column = tuple[str, str, int]


def machine() -> dict[str, str]:
    """Processor, number of cores, memory, Python, date and commit."""
    return {
        "machine": f"{_processor()}, {os.cpu_count()} cores, {_memory()}",
        "python": platform.python_version(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": _commit(),
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _memory() -> str:
    try:
        return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"
    except (ValueError, OSError):
        return "memory unknown"


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"


def write_csv(path: Path, rows: Sequence[Row], facts: Mapping[str, str]) -> None:
    """One line per row; the facts of the run (machine, date, versions) stand in the last columns of every line."""
    fields = list(dict.fromkeys(key for row in rows for key in row))
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*fields, *facts], restval="")
        writer.writeheader()
        writer.writerows({**row, **facts} for row in rows)


def markdown_table(rows: Sequence[Row], columns: Sequence[Column]) -> str:
    """A markdown table; a row with a `missing` reason shows it in its last cell."""
    head = "| " + " | ".join(title for _, title, _ in columns) + " |"
    rule = "|" + "|".join("---" if digits == 0 else "---:" for _, _, digits in columns) + "|"
    lines = []
    for row in rows:
        cells = [_cell(row.get(key, ""), digits) for key, _, digits in columns]
        if row.get("missing"):
            cells[-1] = f"not available: {row['missing']}".replace("|", "/")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([head, rule, *lines])


def _cell(value: Any, digits: int) -> str:
    if not isinstance(value, float):
        return str(value).replace("|", "/")
    if digits == 0 or value == 0:
        return f"{value:g}"
    if abs(value) < 1e-3 or abs(value) >= 1e6:
        return f"{value:.1e}"
    # Significant digits without an exponent: 1234.5 with three digits is 1230.
    return f"{float(f'{value:.{digits}g}'):,.10g}"


def fill(page: Path, name: str, table: str) -> bool:
    """Replace what stands between `<!-- bench:NAME -->` and `<!-- /bench -->`; False where there is no such place."""
    start, end = f"<!-- bench:{name} -->", "<!-- /bench -->"
    text = page.read_text() if page.exists() else ""
    before, opening, rest = text.partition(start)
    _, closing, after = rest.partition(end)
    if not (opening and closing):
        return False
    page.write_text(f"{before}{start}\n\n{table}\n\n{end}{after}")
    return True
