"""The quality report for a terminal: the page's figures in a form that fits 80 columns."""

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
    _tests(report, console)
    _loads(report, console)
    _quarantine(report, console)
    _rests_on(report, console)
    _history(report, console)
    _times(report, console)
    _files(report, console)


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


def _tests(report: Report, console: Console) -> None:
    if not report["test_results"]["total"]:
        return
    _title(console, "Tests")
    table = _table("layer", "<", "tests", ">", "passed", ">", "failed", ">", "warnings", ">")
    for layer, counts in report["layer_summary"].items():
        if counts["tests"]:
            failed = Text(text.number(counts["failed"]), style="bold red" if counts["failed"] else "dim")
            warnings = Text(text.number(counts["warnings"]), style="bold yellow" if counts["warnings"] else "dim")
            table.add_row(layer, text.number(counts["tests"]), text.number(counts["passed"]), failed, warnings)
    _line(console, table)
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


def _quarantine(report: Report, console: Console) -> None:
    if not text.any_known(report["quarantine"]):
        return
    _title(console, "In quarantine now")
    for feed, content in report["quarantine"].items():
        if content is None:
            continue
        one, many = text.FEED_NOUNS[feed]
        _line(console, Text(text.count(content["keys"], one, many), style="bold" if content["keys"] else "dim"))
        for entry in content["reasons"]:
            _line(console, _reason(entry["reason"], entry["keys"], "key", entry["sample_keys"]), indent=4)


def _rests_on(report: Report, console: Console) -> None:
    lines = [
        (text.count(content["count"], *text.FEED_NOUNS[feed]) + " on an older version", content)
        for feed, content in report["standing_on_older_version"].items()
        if content is not None
    ]
    if report["held_back"] is not None:
        for status, why in (("customer_unknown", "customer never known"), ("customer_gone", "customer gone")):
            part = report["held_back"][status]
            lines.append((f"{text.count(part['count'], 'account', 'accounts')} held back: {why}", part))
    lines += [
        (f"{text.count(content['count'], *text.FEED_NOUNS[feed])} {text.NOT_SEEN}", content)
        for feed, content in report.get("not_seen", {}).items()  # a report written before there was this part has none
        if content and content["count"]
    ]
    if not lines:
        return
    _title(console, "What the marts rest on")
    for words, content in lines:
        line = Text(words, style="" if content["count"] else "dim")
        if content["sample_keys"]:
            line.append(f"  {text.key_list(content['sample_keys'], content['count'])}", style="dim")
        _line(console, line)


def _history(report: Report, console: Console) -> None:
    if not text.any_known(report["versions"]):
        return
    _title(console, "History")
    names = ("versions", "current", "historical", "per key", "opened", "closed")
    table = _table("snapshot", "<", *(cell for name in names for cell in (name, ">")))
    for snapshot, content in report["versions"].items():
        if content is not None:
            average = "–" if content["average_per_key"] is None else f"{content['average_per_key']:.2f}"
            counts = [text.number(content[name]) for name in ("total", "current", "historical", "opened", "closed")]
            table.add_row(snapshot, *counts[:3], average, *counts[3:])
    _line(console, table)
    if report["mart_rows"] is not None:
        rows = ", ".join(f"{mart} {text.count(count, 'row', 'rows')}" for mart, count in report["mart_rows"].items())
        _line(console, Text(f"marts: {rows}"))


def _times(report: Report, console: Console) -> None:
    entries = [(step, seconds, None) for step, seconds in report["step_seconds"].items()]
    cells = 12 if console.width < _NARROW else 24
    models = sorted(report["models"], key=lambda model: -model["seconds"])
    for title, content in (
        ("Steps", entries),
        ("Models", [(model["model"], model["seconds"], model["rows"]) for model in models]),
    ):
        if not content:
            continue
        _title(console, title)
        longest = max(seconds for _, seconds, _ in content) or 1.0
        table = Table.grid(padding=(0, 2))
        table.add_column(no_wrap=True, overflow="ellipsis")
        table.add_column(justify="right", no_wrap=True)
        table.add_column(no_wrap=True)
        table.add_column(justify="right", no_wrap=True)
        for name, seconds, rows in content:
            bar = Text("━" * max(1, round(cells * seconds / longest)), style="blue")
            table.add_row(name, text.seconds(seconds), bar, "" if rows is None else text.count(rows, "row", "rows"))
        _line(console, table)


def _files(report: Report, console: Console) -> None:
    if not report["exports"]:
        return
    _title(console, "Files")
    table = Table.grid(padding=(0, 2))
    for file in report["exports"]:
        state = Text("written", style="green") if file["written"] else Text("unchanged", style="dim")
        rows = text.count(file["rows"], "row", "rows")
        table.add_row(Text(file["path"], overflow="fold"), Text(rows, no_wrap=True), text.size(file["bytes"]), state)
    _line(console, table)


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
