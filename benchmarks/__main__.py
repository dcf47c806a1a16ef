"""Print the comparisons: `python -m benchmarks`."""

from __future__ import annotations

import os
import sys

import click
from rich.console import Console

from benchmarks.timing import ratio_table
from benchmarks.whole_job import compare_runs
from scripts.errors import PipelineError


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--accounts",
    type=click.IntRange(min=100),
    default=200_000,
    show_default=True,
    help="Accounts of the made-up feed, and keys of the history.",
)
@click.option("--repeats", type=click.IntRange(min=1), default=3, show_default=True, help="Times each is measured.")
def main(accounts: int, repeats: int) -> None:
    """Measure what the project does beside what it is compared with, in one run, and print the ratios.

    \b
    History: the project's SCD2 strategy beside SQLMesh's own, on the same DuckDB tables.
    Whole job: a day with 10 % changed, and one with nothing changed, beside the first load.
    Only ratios of one run mean something: seconds depend on the machine and on what else it does.
    """
    # Importing SQLMesh takes seconds: --help does without.
    from benchmarks.history import compare_history

    console = Console(highlight=False)
    try:
        console.print("history …")
        history = compare_history(accounts, repeats)
        runs = compare_runs(accounts, repeats, lambda what: console.print(f"{what} …"))
    except PipelineError as error:
        console.print(f"Stopped. {error}", markup=False, soft_wrap=True)
        sys.exit(error.exit_code)
    what = f"{repeats} repeats, {os.cpu_count()} cores; a ratio below 1 is faster"
    console.print()
    console.print(ratio_table(f"The project's history of {accounts:,} keys beside SQLMesh's own, {what}", history))
    console.print(ratio_table(f"Whole job, {accounts:,} accounts, {what}", runs))


if __name__ == "__main__":
    main()
