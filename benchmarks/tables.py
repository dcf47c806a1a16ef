"""Medians and ratios as tables: for the terminal, and in Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any

from rich.box import SIMPLE
from rich.table import Table

from benchmarks.race import Measurement
from benchmarks.results import Median
from scripts.wording import count

HEADINGS = {
    "wall_seconds": "wall s",
    "cpu_seconds": "CPU s",
    "peak_bytes": "peak memory",
    "database_bytes": "database",
}


def rich_tables(found: Sequence[Median]) -> Iterator[Table]:
    """One table per size, a row per load and contestant: how many times what ours takes, and the median."""
    for accounts, rows in groupby(found, key=lambda one: one.accounts):
        table = Table(title=f"{accounts:,} accounts: times what ours takes (median)", title_justify="left", box=SIMPLE)
        table.add_column("load", no_wrap=True)
        table.add_column("contestant", no_wrap=True)
        for heading in HEADINGS.values():
            table.add_column(heading, justify="right", no_wrap=True)
        for load, of_load in groupby(rows, key=lambda one: one.load):
            table.add_section()
            for position, one in enumerate(of_load):
                table.add_row("" if position else load, one.contestant, *_cells(one))
        yield table


def steps_table(measurements: Sequence[Measurement], contestant: str) -> Table | None:
    """Seconds per step of one contestant in the last round, a column per load and size; None where it told none."""
    last = [one for one in measurements if one.contestant == contestant and one.step_seconds]
    last = [one for one in last if one.round == last[-1].round]
    if not last:
        return None
    table = Table(title=f"Seconds per step of {contestant}, last round", title_justify="left")
    table.add_column("step")
    for one in last:
        table.add_column(f"{one.load}\n{one.accounts:,}", justify="right")
    for step in dict.fromkeys(step for one in last for step in one.step_seconds):
        table.add_row(step, *(f"{one.step_seconds.get(step, 0):,.1f}" for one in last))
    return table


def markdown(record: dict[str, Any], found: Sequence[Median]) -> str:
    """The ratios to ours, with the medians in brackets, one table per size, under a line about the machine."""
    machine = record["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    text = (
        f"{count(record['rounds'], 'round', 'rounds')} on {machine['cores']} cores with "
        f"{machine['memory_bytes'] / 1e9:.0f} GB, {machine['measured_at']}, at a load of {machine['load_average']} "
        f"beforehand; {versions}.\n\n"
        "Each cell: how many times what ours takes (median). Above 1 takes more than ours.\n"
    )
    for accounts, rows in groupby(found, key=lambda one: one.accounts):
        text += f"\n### {accounts:,} accounts\n\n"
        text += _markdown_row(["load", "contestant", *HEADINGS.values()])
        text += _markdown_row(["---", "---", *("---:" for _ in HEADINGS)])
        for one in rows:
            text += _markdown_row([one.load, one.contestant, *_cells(one)])
    return text


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |\n"


def _cells(one: Median) -> list[str]:
    """Per measure its ratio to ours and the median."""
    medians = {name: _FORMATS[name](one.values[name]) for name in HEADINGS}
    return [f"{one.ratios[name]:.2f} ({text})" if one.ratios else text for name, text in medians.items()]


def _seconds(value: float) -> str:
    return f"{value:,.1f}"


def _megabytes(value: float) -> str:
    return f"{value / 1e6:,.0f} MB"


_FORMATS: dict[str, Callable[[float], str]] = {
    "wall_seconds": _seconds,
    "cpu_seconds": _seconds,
    "peak_bytes": _megabytes,
    "database_bytes": _megabytes,
}
