"""Repeated measurements and their comparison: ratios, since seconds depend on the machine and on what else it does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from rich.table import Table


@dataclass(frozen=True)
class Comparison:
    """Seconds of one thing beside the seconds of what it is compared with, each measured several times."""

    name: str
    seconds: Sequence[float]
    base_name: str
    base_seconds: Sequence[float]

    @property
    def ratio(self) -> float:
        """Median to median: below 1, the thing is faster than its base."""
        return median(self.seconds) / median(self.base_seconds)


def ratio_table(title: str, comparisons: Sequence[Comparison]) -> Table:
    """One row per comparison: minimum and median of both sides, and the ratio of the medians."""
    table = Table(title=title, title_justify="left")
    table.add_column("measured")
    table.add_column("min s", justify="right")
    table.add_column("median s", justify="right")
    table.add_column("beside")
    table.add_column("min s", justify="right")
    table.add_column("median s", justify="right")
    table.add_column("ratio", justify="right", style="bold")
    for comparison in comparisons:
        table.add_row(
            comparison.name,
            *_min_and_median(comparison.seconds),
            comparison.base_name,
            *_min_and_median(comparison.base_seconds),
            f"{comparison.ratio:.2f}",
        )
    return table


def _min_and_median(seconds: Sequence[float]) -> tuple[str, str]:
    return f"{min(seconds):.3f}", f"{median(seconds):.3f}"
