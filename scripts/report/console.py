"""The quality report for a terminal of 80 columns: verdict, what came in, what failed; the page has the rest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from scripts import wording as text
from scripts.wording import Report

_STYLES = {"passed": "bold green", "failed": "bold red"}
_NARROW = 100  # columns under which gaps shrink


def print_report(report: Report, console: Console) -> None:
    """Prints the report. Values are printed as text: none is read as markup, no control character gets through."""
    report = text.printable(report)
    console.print(Text(text.headline(report), style=_STYLES.get(report["verdict"], "bold yellow")))
    console.print(Text(text.summary(report)))
    for facts in _facts(report):
        console.print(Text(" · ".join(facts), style="dim"))
    for title, lines in (
        ("What went wrong", _styled("red", (report["error"] or "").splitlines())),
        ("Warnings", _styled("yellow", (warning["message"] for warning in report.get("warnings", ())))),
        ("Parts of this report are missing", _styled("yellow", dict.fromkeys(report["problems"].values()))),
        ("Tests that did not pass", _failed_tests(report)),
        ("What came in", _loads(report, console.width)),
    ):
        if indented := [Padding.indent(line, 2) for line in lines]:
            console.print(Text(f"\n{title}", style="bold"), *indented)
    if counts := _counts(report):
        console.print(Text("\n" + " · ".join(counts)))


def _facts(report: Report) -> Iterator[list[str]]:
    load = f"load {text.moment(report['loaded_at'], precise=True)}" if report["loaded_at"] else "no load"
    commit = text.commit(report)
    yield [load, report["environment"], report["gateway"], *([f"commit {commit}"] if commit else [])]
    finished = f"finished {text.moment(report['finished_at'])} after {text.seconds(report['seconds'])}"
    yield [finished, f"run {report['run_id']}"]


def _styled(style: str, lines: Iterable[str]) -> list[RenderableType]:
    return [Text(line, style=style) for line in lines]


def _failed_tests(report: Report) -> Iterator[RenderableType]:
    for test in report["failed_tests"]:
        is_blocking = test["severity"] == "error"
        mark = Text("blocking  ", style="bold red") if is_blocking else Text("warning   ", style="bold yellow")
        yield mark + Text(f"{test['test']} on {test['model']}: {test['message']}.")
        if is_blocking:
            yield from (Padding.indent(Text(line, style="dim"), 10) for line in test["query"].strip().splitlines())


def _loads(report: Report, width: int) -> Iterator[RenderableType]:
    if report["loads"]:
        table = Table(box=None, pad_edge=False, padding=(0, 1 if width < _NARROW else 2, 0, 0), header_style="dim")
        table.add_column("file", no_wrap=True)
        for name in ("rows", *text.LINE_PARTS, "gone"):
            table.add_column(name, justify="right", no_wrap=True)
        for load in report["loads"]:
            counts = [load[f"{part}_count"] for part in (*text.LINE_PARTS, "gone")]
            cells = (Text(f"{count:,}", style="" if count else "dim") for count in counts)
            table.add_row(load["file_name"], f"{load['rows_read_count']:,}", *cells)
        yield table
    for entry in report["rejects"]["reasons"] if report["rejects"] else ():
        line = Text(f"{text.words(entry['reason'])}: {text.count(entry['count'], 'line')}  ")
        yield line.append(text.key_list(entry["sample_lines"], entry["count"]), style="dim")


def _counts(report: Report) -> list[str]:
    counts = [f"{mart} {text.count(rows, 'row')}" for mart, rows in (report["mart_rows"] or {}).items()]
    if report["test_results"]["total"]:
        counts.append(f"{text.count(report['test_results']['passed'], 'test')} passed")
    return counts
