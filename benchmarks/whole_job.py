"""The whole job on a generated feed: days on which 10 % and nothing changed, beside the first load."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.scale import Measurement, cases, measure
from benchmarks.timing import Comparison
from tools.generate_feed import FeedPlan, write_feeds

CHANGE_SHARE = 0.1


def compare_runs(accounts: int, repeats: int, say: Callable[[str], None]) -> list[Comparison]:
    """Measures the three runs of `benchmarks.scale`, in processes of their own, `repeats` times from nothing.

    Returns:
        For each later run its whole process, and its steps alone (without the start of Python and of SQLMesh), beside
        the first load's.

    Raises:
        PipelineError: A run failed.
    """
    with tempfile.TemporaryDirectory(prefix="lending_club_bench_") as scratch:
        feeds = Path(scratch) / "feeds"
        for _ in write_feeds(FeedPlan(accounts, CHANGE_SHARE), 2, feeds):
            pass
        repeated: list[list[Measurement]] = []
        for repeat in range(repeats):
            folder = Path(scratch) / str(repeat)
            folder.mkdir()
            repeated.append([])
            for case in cases(feeds, f"{CHANGE_SHARE:.0%}"):
                say(f"whole job {repeat + 1} of {repeats}: {case.name}")
                repeated[-1].append(measure(case, folder))
    first, *later = zip(*repeated, strict=True)
    return [
        Comparison(
            f"{runs[0].case.name}, {part}", list(map(seconds, runs)), f"first load, {part}", list(map(seconds, first))
        )
        for runs in later
        for part, seconds in (("steps", _steps), ("whole process", _process))
    ]


def _process(measurement: Measurement) -> float:
    return measurement.wall_seconds


def _steps(measurement: Measurement) -> float:
    return sum(measurement.step_seconds.values())
