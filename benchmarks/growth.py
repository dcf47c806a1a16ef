"""Day after day: `python -m benchmarks.growth --days 60 --accounts 1000000 --change 0.02` (`make growth`)."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from benchmarks.__main__ import out_option
from benchmarks.contestants import OURS, copy_project
from benchmarks.loads import daily_loads
from benchmarks.race import Measurement, measure
from benchmarks.results import MEASURES, RESULTS, machine_facts, write_record
from scripts.errors import PipelineError
from tools.generate_feed import FeedPlan


def measure_days(plan: FeedPlan, days: int, scratch: Path) -> Iterator[Measurement]:
    """Yields what each daily load took; its files are gone afterwards, tables and reports stay under `scratch`.

    Raises:
        PipelineError: A run failed.
    """
    copy_project(scratch)
    for number, load in enumerate(daily_loads(plan, days, scratch / "feeds"), start=1):
        yield measure(plan.account_count, OURS, load, number, scratch)
        shutil.rmtree(load.inputs)


def growth_record(machine: dict[str, Any], plan: FeedPlan, measurements: list[Measurement]) -> dict[str, Any]:
    """The whole record, ready for JSON: machine, feed, and the measures of each day (from 1)."""
    return {
        "machine": machine,
        "accounts": plan.account_count,
        "change_share": plan.change_share,
        "days": [
            {"day": one.round, **{name: read(one) for name, read in MEASURES.items()}, "step_seconds": one.step_seconds}
            for one in measurements
        ],
    }


def _line(one: Measurement) -> str:
    memory, size = one.usage.peak_bytes / 1e6, one.database_bytes / 1e6
    return f"day {one.round:>3}  {one.usage.wall_seconds:6.1f} s  {memory:7,.0f} MB memory  {size:9,.0f} MB database"


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--days", type=click.IntRange(min=1), default=60, show_default=True, help="Daily loads.")
@click.option(
    "--accounts", type=click.IntRange(min=100), default=1_000_000, show_default=True, help="On the first day."
)
@click.option(
    "--change", type=click.FloatRange(0, 1), default=0.02, show_default=True, help="Share of the keys that differ."
)
@out_option
def main(days: int, accounts: int, change: float, out: Path) -> None:
    """Run the whole job a day after another and record seconds, memory and the database's size of each."""
    console = Console(highlight=False)
    plan = FeedPlan(accounts, change)
    machine, measurements = machine_facts(), []
    with tempfile.TemporaryDirectory(prefix="lending_club_growth_") as scratch:
        try:
            for one in measure_days(plan, days, Path(scratch)):
                measurements.append(one)
                console.print(_line(one))
        except PipelineError as error:
            console.print(f"Stopped. {error}", markup=False, soft_wrap=True)
            sys.exit(error.exit_code)
    written = write_record(growth_record(machine, plan, measurements), "growth", RESULTS, out)
    console.print("Written: " + ", ".join(map(str, written)), soft_wrap=True)


if __name__ == "__main__":
    main()
