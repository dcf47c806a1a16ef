"""The race: `python -m benchmarks --accounts 100000 --accounts 1000000` (`make bench`)."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from benchmarks.contestants import CONTESTANTS, OURS, Contestant
from benchmarks.loads import four_loads
from benchmarks.race import Measurement, race
from benchmarks.results import RESULTS, machine_facts, medians, record_of, write_record
from benchmarks.tables import markdown, rich_tables, steps_table
from scripts.errors import PipelineError

DEFAULT_OUT = Path("data/bench")
NARROWEST = 120


def measure_sizes(
    sizes: Sequence[int], contestants: Sequence[Contestant], rounds: int, scratch: Path, console: Console
) -> list[Measurement]:
    """Races on feeds of each size (accounts), one after another, with feeds and tables under `scratch`.

    Raises:
        PipelineError: A contestant failed or came to other marts.
    """
    measurements = []
    for accounts in sizes:
        folder = scratch / str(accounts)
        console.print(f"feeds of {accounts:,} accounts …")
        loads = four_loads(accounts, folder / "feeds")
        measurements += race(accounts, contestants, loads, rounds, folder, lambda what: console.print(f"{what} …"))
    return measurements


def report(
    record: dict[str, Any], measurements: Sequence[Measurement], results: Path, out: Path, console: Console
) -> None:
    """Prints medians and ratios; writes them to `out` as bench.md and bench.json, and the record to `results`, too."""
    found = medians(measurements)
    console.print()
    for table in rich_tables(found):
        console.print(table)
    if steps := steps_table(measurements, OURS.name):
        console.print(steps)
    written = write_record(record, "bench", results, out)
    path = out / "bench.md"
    path.write_text(markdown(record, found), encoding="utf-8")
    console.print("Written: " + ", ".join(map(str, [*written, path])), soft_wrap=True)


def wide_console() -> Console:
    """The terminal; where output goes elsewhere, wide enough for the tables."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=NARROWEST)


out_option = click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=DEFAULT_OUT,
    show_default=True,
    help="Folder for the record, and for tables where there are some.",
)


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--accounts",
    "sizes",
    type=click.IntRange(min=100),
    multiple=True,
    default=(100_000, 1_000_000),
    show_default=True,
    help="Accounts of the made-up feeds; may be given several times.",
)
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True, help="Times all is measured.")
@click.option(
    "--contestant",
    "names",
    type=click.Choice([contestant.name for contestant in CONTESTANTS]),
    multiple=True,
    help="Measure this one, beside ours; may be given several times [default: all].",
)
@out_option
@click.option(
    "--scratch",
    type=click.Path(file_okay=False, path_type=Path),
    help="New folder for feeds, tables and logs, kept afterwards [default: a temporary one, removed].",
)
def main(sizes: tuple[int, ...], rounds: int, names: tuple[str, ...], out: Path, scratch: Path | None) -> None:
    """Measure the project beside plain DuckDB, dbt and SQLMesh's own history, on the same feeds, by turns.

    Four loads: a first one, 10 % changed, 1 % changed, nothing changed. All have to come to the same marts. Only ratios
    of one run mean something: seconds depend on the machine and on what else it does. 10 million accounts take about
    25 GB of disk (in the temporary folder: set TMPDIR for another place).
    """
    console = wide_console()
    machine = machine_facts()
    contestants = [one for one in CONTESTANTS if not names or one is OURS or one.name in names]
    with ExitStack() as stack:
        if scratch is None:
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lending_club_bench_")))
        elif scratch.exists() and any(scratch.iterdir()):
            raise click.BadParameter(f"{scratch} holds files already; name a new folder.", param_hint="--scratch")
        try:
            measurements = measure_sizes(sizes, contestants, rounds, scratch.resolve(), console)
        except PipelineError as error:
            console.print(f"Stopped. {error}", markup=False, soft_wrap=True)
            sys.exit(error.exit_code)
    report(record_of(machine, measurements, rounds), measurements, RESULTS, out, console)


if __name__ == "__main__":
    main()
