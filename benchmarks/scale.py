"""How long and how much memory the job takes at size: `python -m benchmarks.scale --accounts 5000000`.

Three runs of the whole job, each in a process of its own: a first load, a day on which `--change` of the keys differ,
and that same day's feed once more. Nothing of it touches the project's own database, exports or reports.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from pathlib import Path
from time import perf_counter

import click
from rich.console import Console
from rich.table import Table

from scripts.errors import PipelineError
from tools.generate_feed import FeedPlan, write_feeds

PROJECT_ROOT = Path(__file__).resolve().parent.parent
LOADED_AT = time(2)
# ru_maxrss is in kilobytes, but in bytes on macOS.
RSS_UNIT = 1 if sys.platform == "darwin" else 1024


@dataclass(frozen=True)
class Case:
    """A run to measure: its name in the table, its feed, and the time that its load is dated (UTC)."""

    name: str
    inputs: Path
    as_of: datetime


@dataclass(frozen=True)
class Measurement:
    """What one run took.

    Attributes:
        wall_seconds: From the start of the process to its end.
        peak_bytes: Largest resident memory of the process.
        step_seconds: Seconds per step, from the run's quality report.
    """

    case: Case
    wall_seconds: float
    peak_bytes: int
    step_seconds: dict[str, float]


def cases(feeds: Path, change: str) -> list[Case]:
    """The three runs on the first two daily feeds (folders named YYYY-MM-DD) under `feeds`.

    Raises:
        PipelineError: There are fewer than two.
    """
    days = sorted(folder for folder in feeds.glob("????-??-??") if folder.is_dir())
    if len(days) < 2:
        raise PipelineError(
            f"{feeds} holds {len(days)} daily feeds (folders named YYYY-MM-DD), and two are needed. Make them with "
            f"`python -m tools.generate_feed --accounts 1000000 --days 2 --out {feeds}`."
        )
    first, second = days[:2]
    first_at = datetime.combine(date.fromisoformat(first.name), LOADED_AT)
    second_at = datetime.combine(date.fromisoformat(second.name), LOADED_AT)
    return [
        Case("first load", first, first_at),
        Case(f"{change} changed", second, second_at),
        Case("nothing changed", second, second_at + timedelta(days=1)),
    ]


def measure(case: Case, scratch: Path) -> Measurement:
    """Run the whole job for a case, with its tables and files under `scratch`.

    Raises:
        PipelineError: The run failed, or its report can't be read; its output is in `scratch`.
    """
    reports = scratch / "quality_reports"
    environment = os.environ | {
        "DATABASE_TYPE": "duckdb",
        "DUCKDB_PATH": str(scratch / "scale.duckdb"),
        "OUTPUT_PATH": str(scratch / "outputs"),
        "QUALITY_REPORTS_PATH": str(reports),
        # SQLMesh's state belongs beside these tables, wherever the project's own is kept.
        "STATE_HOST": "",
    }
    command = [sys.executable, "-m", "scripts.pipeline", "run"]
    command += ["--inputs", str(case.inputs), "--as-of", case.as_of.isoformat()]
    log = scratch / f"{case.name.replace(' ', '_').replace('%', 'percent')}.log"
    with log.open("wb") as output:
        started = perf_counter()
        process = subprocess.Popen(command, cwd=PROJECT_ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        last = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
        raise PipelineError(f"The run '{case.name}' ended with exit code {process.returncode}. Its last lines:\n{last}")
    return Measurement(case, seconds, usage.ru_maxrss * RSS_UNIT, newest_step_seconds(reports))


def newest_step_seconds(reports: Path) -> dict[str, float]:
    """Seconds per step, from the newest quality report of a folder.

    Raises:
        PipelineError: There is no report.
    """
    newest = max(reports.glob("quality_report_*.json"), default=None)
    if newest is None:
        raise PipelineError(f"The run left no quality report in {reports}.")
    steps: dict[str, float] = json.loads(newest.read_text(encoding="utf-8"))["step_seconds"]
    return steps


def comparison(measurements: Sequence[Measurement], title: str) -> Table:
    """A table with one column per run: seconds per step, wall seconds with their ratio to the first run's, memory."""
    table = Table(title=title, title_justify="left")
    table.add_column("seconds")
    for measurement in measurements:
        table.add_column(measurement.case.name, justify="right")
    steps = dict.fromkeys(step for measurement in measurements for step in measurement.step_seconds)
    for step in steps:
        table.add_row(step, *(_seconds(measurement.step_seconds.get(step)) for measurement in measurements))
    table.add_section()
    table.add_row("whole process", *(_seconds(measurement.wall_seconds) for measurement in measurements))
    first = measurements[0].wall_seconds
    table.add_row("to the first run's", *(f"{measurement.wall_seconds / first:.2f}" for measurement in measurements))
    table.add_row("peak memory", *(f"{measurement.peak_bytes / 1e9:.2f} GB" for measurement in measurements))
    return table


def _seconds(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds:,.1f}"


@click.command(context_settings={"max_content_width": 100})
@click.option(
    "--accounts", type=click.IntRange(min=1), default=5_000_000, show_default=True, help="Accounts of the made-up feed."
)
@click.option(
    "--change", type=click.FloatRange(0, 1), default=0.1, show_default=True, help="Share of the keys that differ."
)
@click.option("--dirty", type=click.FloatRange(0, 1), default=0.01, show_default=True, help="Share of dirty rows.")
@click.option("--seed", type=int, default=1, show_default=True, help="Another seed gives another feed.")
@click.option(
    "--feeds",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Use the daily feeds of this folder (from tools.generate_feed) and make none.",
)
@click.option(
    "--scratch",
    type=click.Path(file_okay=False, path_type=Path),
    help="New folder for feeds, tables, reports and logs, kept afterwards [default: a temporary one, removed].",
)
def main(accounts: int, change: float, dirty: float, seed: int, feeds: Path | None, scratch: Path | None) -> None:
    """Run the whole job three times on a large feed and print seconds per step and peak memory.

    The runs: a first load; the next day, on which CHANGE of the keys differ; that day's feed once more, dated a day
    later. 5 million accounts take about 5 GB of disk (in the temporary folder: set TMPDIR for another place).
    """
    console = Console(highlight=False)
    with ExitStack() as stack:
        if scratch is None:
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lending_club_scale_")))
        elif scratch.exists() and any(scratch.iterdir()):
            raise click.BadParameter(f"{scratch} holds files already; name a new folder.", param_hint="--scratch")
        scratch.mkdir(parents=True, exist_ok=True)
        scratch = scratch.resolve()
        try:
            if feeds is None:
                feeds = scratch / "feeds"
                for path, size in write_feeds(FeedPlan(accounts, change, dirty, seed), 2, feeds):
                    console.print(f"feed   {path.relative_to(feeds)}  {size / 1e6:,.1f} MB")
                title = f"{accounts:,} accounts, {dirty:.1%} dirty, {os.cpu_count()} cores"
            else:
                title = f"{feeds}, {os.cpu_count()} cores"
            measurements = []
            for case in cases(feeds.resolve(), f"{change:.0%}"):
                console.print(f"run    {case.name} …")
                measurements.append(measure(case, scratch))
        except PipelineError as error:
            console.print(f"Stopped. {error}", markup=False, soft_wrap=True)
            sys.exit(error.exit_code)
    console.print()
    console.print(comparison(measurements, title))


if __name__ == "__main__":
    main()
