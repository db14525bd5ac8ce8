"""Self-contained HTML reports: text, tables, figures and videos in one file."""

import base64
import html
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from costogo.core.errors import CostogoError, known

MEDIA = {
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".gif": "image/gif",
    ".mp4": "video/mp4",
}
VERDICT_COLOURS = {"reproduced": "good", "partly": "fair", "not reproduced": "poor", "not run": "none"}
STYLE = """
:root { color-scheme: light dark; --ink: #222; --soft: #667; --line: #d9dde2; --paper: #fff; --panel: #f6f7f9; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e8ea; --soft: #a5abb5; --line: #3a3f47; --paper: #17191c;
  --panel: #202328; } }
body { font: 16px/1.55 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 60rem;
  margin: 2.5rem auto; padding: 0 1.2rem; }
h1 { font-size: 1.7rem; margin-bottom: .2rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
.soft, figcaption { color: var(--soft); font-size: .9rem; }
figure { margin: 1.2rem 0; } img, video { max-width: 100%; border: 1px solid var(--line); border-radius: 6px;
  background: #fff; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-size: .9rem; }
th, td { text-align: left; padding: .35rem .8rem .35rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td { font-variant-numeric: tabular-nums; }
pre { background: var(--panel); padding: .8rem 1rem; border-radius: 6px; overflow-x: auto; font-size: .85rem; }
.mark { font-weight: 600; white-space: nowrap; } .good { color: #009e73; } .fair { color: #b97a00; }
.poor { color: #d55e00; } .none { color: var(--soft); }
"""


class Report:
    """Collects sections in order; `write` puts them into one HTML file that needs nothing else."""

    def __init__(self, title: str, summary: str = ""):
        self.title = title
        stamp = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
        self.parts = [f"<h1>{html.escape(title)}</h1>", f'<p class="soft">{stamp}</p>']
        if summary:
            self.text(summary)

    def heading(self, words: str) -> "Report":
        """Start a section."""
        return self._add(f"<h2>{html.escape(words)}</h2>")

    def text(self, words: str) -> "Report":
        """A paragraph."""
        return self._add(f"<p>{html.escape(words)}</p>")

    def table(self, rows: Sequence[Mapping[str, Any]]) -> "Report":
        """Rows with the same keys; the first row's keys are the header. Numbers are shown to four digits."""
        if not rows:
            return self
        head = "".join(f"<th>{html.escape(str(key))}</th>" for key in rows[0])
        body = "".join("<tr>" + "".join(_cell(row.get(key, "")) for key in rows[0]) + "</tr>" for row in rows)
        return self._add(f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>')

    def settings(self, config: Mapping[str, Any]) -> "Report":
        """A configuration or manifest, as indented text."""
        lines = [f"{key}: {_shown(value)}" for key, value in config.items()]
        return self._add(f"<pre>{html.escape(chr(10).join(lines))}</pre>")

    def media(self, path: Path | str, caption: str = "") -> "Report":
        """A figure (.png, .svg) or a video (.gif, .mp4), embedded."""
        path = Path(path)
        kind = MEDIA[known("media format", path.suffix, MEDIA)]
        try:
            data = f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
        except OSError as error:
            raise CostogoError(f"could not read {path} for the report: {error}") from error
        label = html.escape(caption or path.stem, quote=True)
        shown = (
            f'<video src="{data}" aria-label="{label}" autoplay loop muted playsinline controls></video>'
            if kind.startswith("video")
            else f'<img src="{data}" alt="{label}">'
        )
        note = f"<figcaption>{html.escape(caption)}</figcaption>" if caption else ""
        return self._add(f"<figure>{shown}{note}</figure>")

    def write(self, path: Path | str) -> Path:
        """Write the file; makes its folder."""
        path = Path(path)
        page = (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{html.escape(self.title)}</title><style>{STYLE}</style></head><body>\n"
            + "\n".join(self.parts)
            + "\n</body></html>\n"
        )
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(page, encoding="utf-8")
        except OSError as error:
            raise CostogoError(f"could not write {path}: {error}; choose another folder with --out") from error
        return path

    def _add(self, part: str) -> "Report":
        self.parts.append(part)
        return self


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _cell(value: Any) -> str:
    text = html.escape(_shown(value))
    mark = VERDICT_COLOURS.get(str(value))
    return f'<td class="mark {mark}">{text}</td>' if mark else f"<td>{text}</td>"
