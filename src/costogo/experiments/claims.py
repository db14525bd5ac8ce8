"""Claims of a paper, held against our numbers: the data behind every verdict."""

import csv
import os
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from costogo.core.validate import require

VERDICTS = ("reproduced", "partly", "not reproduced", "not run", "no claim")


@dataclass(frozen=True)
class Claim:
    """One claim: what is said, the published value or ordering, ours, and the verdict."""

    claim: str
    published: str
    ours: str
    verdict: str
    seeds: int = 1

    def __post_init__(self):
        require(self.verdict in VERDICTS, f"verdict is {self.verdict!r}; use one of {VERDICTS}")


def judge(condition: bool, partly: bool = False) -> str:
    """Verdict of a claim that was tested."""
    return "reproduced" if condition else ("partly" if partly else "not reproduced")


def machine() -> str:
    """The machine, in words."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        model = platform.processor() or platform.machine()
    return f"{model}, {os.cpu_count()} cores"


def write_claims(folder: Path, claims: list[Claim]) -> list[dict[str, str]]:
    """Write `claims.csv` and `claims.md` into the folder; returns the rows."""
    stamp = {"machine": machine(), "date": datetime.now(UTC).date().isoformat()}
    rows = [{**{k: str(v) for k, v in vars(claim).items()}, **stamp} for claim in claims]
    with (folder / "claims.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    shown = ("claim", "published", "ours", "verdict", "seeds")
    lines = ["| " + " | ".join(shown) + " |", "|" + "---|" * len(shown)]
    lines += ["| " + " | ".join(row[key].replace("|", "\\|") for key in shown) + " |" for row in rows]
    (folder / "claims.md").write_text("\n".join(lines) + f"\n\nMeasured on {stamp['date']}, {stamp['machine']}.\n")
    return rows


def write_rows(path: Path, rows: list[dict]) -> None:
    """Write dictionaries as CSV; the columns are the union of their keys, in order of appearance."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
