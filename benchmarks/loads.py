"""The loads that contestants take: generated feeds, each a folder with both files, and the time that dates the load."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from pathlib import Path

from tools.generate_feed import FeedPlan, write_day

LOADED_AT = time(2)
ONE_PERCENT = 0.01


@dataclass(frozen=True)
class Load:
    """One load: its name in tables, the folder of its files, and the time that dates it (UTC)."""

    name: str
    inputs: Path
    as_of: datetime


def four_loads(account_count: int, folder: Path) -> list[Load]:
    """Writes three feeds under `folder`, 1 % of their rows dirty, and returns the loads that are measured.

    A first load; one with 10 % of the keys changed, come or gone; one with 1 %; and the same files once more.
    """
    plan = FeedPlan(account_count, change_share=ONE_PERCENT, dirty_share=ONE_PERCENT)
    # At 1 % a day, a tenth of the keys differ after ten days.
    first, tenth, hundredth = (write_load(plan, day, folder) for day in (0, 10, 11))
    return [
        Load("first load", first, _dated(plan, 0)),
        Load("10 % changed", tenth, _dated(plan, 10)),
        Load("1 % changed", hundredth, _dated(plan, 11)),
        Load("nothing changed", hundredth, _dated(plan, 12)),
    ]


def daily_loads(plan: FeedPlan, days: int, folder: Path) -> Iterator[Load]:
    """Writes a feed a day under `folder`, each when it is asked for, and yields its load."""
    for day in range(days):
        yield Load(f"day {day + 1}", write_load(plan, day, folder), _dated(plan, day))


def write_load(plan: FeedPlan, day: int, folder: Path) -> Path:
    """Writes both files of a day (0 = first); returns their folder."""
    for _ in write_day(plan, day, folder):
        pass
    return plan.day_folder(folder, day)


def _dated(plan: FeedPlan, day: int) -> datetime:
    return datetime.combine(plan.first_day + timedelta(days=day), LOADED_AT)
