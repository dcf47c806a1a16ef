"""The quality report for a terminal of 80 columns: verdict, what came in, what failed; the page has the rest."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from scripts import wording as text

Report = dict[str, Any]

_STYLES = {
    "passed": "bold green",
    "passed_with_warnings": "bold yellow",
    "failed": "bold red",
    "unfinished": "bold yellow",
    "incomplete": "bold yellow",
}
_NARROW = 100  # columns under which bars and gaps shrink


def print_report(report: Report, console: Console) -> None:
    """Prints the report. Values are printed as text: none is read as markup, no control character gets through."""
    report = text.printable(report)
    console.print(Text(text.headline(report), style=_STYLES[report["verdict"]]))
    console.print(Text(text.summary(report)))
    for facts in _facts(report):
        console.print(Text(" · ".join(facts), style="dim"))
    if report["error"]:
        _title(console, "What went wrong")
        for line in report["error"].splitlines():
            _line(console, Text(line, style="red"))
    if text.warnings(report):
        _title(console, "Warnings")
        for warning in text.warnings(report):
            _line(console, Text(warning["message"], style="yellow"))
    if report["problems"]:
        _title(console, "Parts of this report are missing")
        for sentence in dict.fromkeys(report["problems"].values()):
            _line(console, Text(sentence, style="yellow"))
    _failed_tests(report, console)
    _loads(report, console)
    _counts(report, console)


def _facts(report: Report) -> tuple[list[str], list[str]]:
    commit = text.commit(report)
    return (
        [
            f"load {text.moment(report['loaded_at'], precise=True)}" if report["loaded_at"] else "no load",
            report["environment"],
            report["gateway"],
            *([f"commit {commit}"] if commit else []),
        ],
        [
            f"finished {text.moment(report['finished_at'])} after {text.seconds(report['seconds'])}",
            f"run {report['run_id']}",
        ],
    )


def _failed_tests(report: Report, console: Console) -> None:
    if report["failed_tests"]:
        _title(console, "Tests that did not pass")
    for failed_test in report["failed_tests"]:
        blocking = failed_test["severity"] == "error"
        mark = Text("blocking  " if blocking else "warning   ", style="bold red" if blocking else "bold yellow")
        _line(console, mark + Text(f"{failed_test['test']} on {failed_test['model']}: {failed_test['message']}."))
        if blocking:
            for line in failed_test["query"].strip().splitlines():
                _line(console, Text(line, style="dim"), indent=12)


def _loads(report: Report, console: Console) -> None:
    if report["loads"]:
        _title(console, "What came in")
        parts = (*text.LINE_PARTS, "gone")
        table = _table("file", "<", *(cell for part in ("rows", *parts) for cell in (part, ">")))
        table.padding = (0, 1 if console.width < _NARROW else 2, 0, 0)
        for load in report["loads"]:
            counts = (Text(text.number(load[f"{part}_count"])) for part in parts)
            table.add_row(load["file_name"], text.number(load["rows_read_count"]), *map(_dim_zero, counts))
        _line(console, table)
    for entry in (report["rejects"] or {"reasons": []})["reasons"]:
        _line(console, _reason(entry["reason"], entry["count"], "line", entry["sample_lines"]))


def _counts(report: Report, console: Console) -> None:
    counts = [f"{mart} {text.count(rows, 'row', 'rows')}" for mart, rows in (report["mart_rows"] or {}).items()]
    if report["test_results"]["total"]:
        counts.append(f"{text.count(report['test_results']['passed'], 'test', 'tests')} passed")
    if counts:
        console.print()
        console.print(Text(" · ".join(counts)))


def _table(*columns: str) -> Table:
    """A table without lines; columns as name, justification, name, justification …"""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name, side in zip(columns[::2], columns[1::2], strict=True):
        table.add_column(name, justify="right" if side == ">" else "left", no_wrap=True)
    return table


def _reason(code: str, count: int, noun: str, samples: list[str]) -> Text:
    line = Text(f"{text.words(code)}: {text.count(count, noun, noun + 's')}  ")
    return line.append(text.key_list(samples, count), style="dim")


def _dim_zero(cell: Text) -> Text:
    if cell.plain == "0":
        cell.stylize("dim")
    return cell


def _title(console: Console, title: str) -> None:
    console.print()
    console.print(Text(title, style="bold"))


def _line(console: Console, content: Text | Table, indent: int = 2) -> None:
    console.print(Padding(content, (0, 0, 0, indent), expand=False))
