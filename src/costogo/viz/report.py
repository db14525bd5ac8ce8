"""Self-contained HTML reports."""

import base64
import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 960px; margin: 2em auto; padding: 0 1em; color: #1b1b1b; }
table { border-collapse: collapse; margin: 1em 0; } th, td { border-bottom: 1px solid #ddd; padding: .3em .7em;
text-align: left; vertical-align: top; } img, video { max-width: 100%; } .reproduced { color: #00704a; }
.not { color: #b03a00; }
"""
MEDIA = {".png": "image/png", ".gif": "image/gif", ".mp4": "video/mp4"}


def write_report(
    folder: Path, title: str, rows: Sequence[dict[str, Any]], media: Sequence[Path], facts: dict[str, Any]
) -> Path:
    """Write `report.html` into the folder: facts, a table, and figures and videos embedded in the page."""
    parts = [f"<h1>{html.escape(title)}</h1>", "<p>" + ", ".join(f"{k}: {v}" for k, v in facts.items()) + "</p>"]
    if rows:
        parts.append(table(rows))
    parts += [embed(path) for path in media]
    page = (
        f"<!doctype html><meta charset='utf-8'><title>{html.escape(title)}</title><style>{STYLE}</style>"
        + "\n".join(parts)
    )
    path = folder / "report.html"
    path.write_text(page)
    return path


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Rows as an HTML table; a `verdict` column is coloured."""
    columns = list(rows[0])
    lines = ["<tr>" + "".join(f"<th>{html.escape(c)}</th>" for c in columns) + "</tr>"]
    for row in rows:
        cells = []
        for column in columns:
            text = html.escape(str(row.get(column, "")))
            kind = text.split(" ")[0] if column == "verdict" else ""
            cells.append(f"<td class='{kind}'>{text}</td>")
        lines.append("<tr>" + "".join(cells) + "</tr>")
    return "<table>" + "".join(lines) + "</table>"


def embed(path: Path) -> str:
    """A figure or video as a data URI."""
    kind = MEDIA[path.suffix]
    data = base64.b64encode(path.read_bytes()).decode()
    if kind.startswith("video"):
        return f"<video controls loop src='data:{kind};base64,{data}'></video>"
    return f"<img alt='{html.escape(path.stem)}' src='data:{kind};base64,{data}'>"
