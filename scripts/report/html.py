"""The quality report as one page: no network, no scripts, every value escaped."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from scripts import wording as text

_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)


def render_html(report: dict[str, Any]) -> str:
    """The page for a report of `build_report`."""
    return _TEMPLATES.get_template("quality_report.html.j2").render(report=text.printable(report), text=text)


def _share(value: float, total: float) -> str:
    """A part of a bar in percent, for CSS."""
    return f"{100 * value / total:.3f}%" if total > 0 else "0%"


_TEMPLATES.filters |= {
    "number": "{:,}".format,
    "seconds": text.seconds,
    "size": text.size,
    "moment": text.moment,
    "key": text.key_text,
    "words": text.words,
    "file_name": lambda path: PurePath(path).name,
    "share": _share,
}
