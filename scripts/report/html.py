"""The quality report as one page: no network, no scripts, every value escaped."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from scripts import wording as text


def render_html(report: dict[str, Any]) -> str:
    """Returns the page for a report of `build_report`."""
    return _template().render(report=text.printable(report), text=text)


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "number": text.number,
        "seconds": text.seconds,
        "size": text.size,
        "moment": text.moment,
        "key": text.key_text,
        "words": text.words,
        "file_name": text.file_name,
        "share": _share,
    }
    return environment.get_template("quality_report.html.j2")


def _share(value: float, total: float) -> str:
    """A part of a bar in percent, for CSS."""
    return f"{100 * value / total:.3f}%" if total > 0 else "0%"
