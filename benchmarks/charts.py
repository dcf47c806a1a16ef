"""Charts of the records in a folder, as SVG: `python -m benchmarks.charts data/bench`.

Altair is no part of the project's environment: this runs in that of dbt (`make bench`, `make growth`), and imports
nothing of the project.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import altair

MEGABYTE = 1e6
# By the names of the records: the chart's title, and what a value is divided by.
MEASURES = {
    "wall_seconds": ("Seconds", 1),
    "cpu_seconds": ("CPU seconds", 1),
    "peak_bytes": ("Peak memory, MB", MEGABYTE),
    "database_bytes": ("Database, MB", MEGABYTE),
}
WIDTH, HEIGHT, GROWTH_WIDTH = 130, 150, 560


def race_charts(record: dict[str, Any]) -> Iterator[tuple[str, altair.Chart]]:
    """One chart per measure, its name and itself: bars of the medians, a column per load and a row per size."""
    for name, (title, unit) in MEASURES.items():
        rows = [
            {
                "accounts": f"{one['accounts']:,} accounts",
                "load": one["load"],
                "contestant": one["contestant"],
                "value": one["values"][name] / unit,
            }
            for one in record["medians"]
        ]
        loads, sizes, contestants = (list(dict.fromkeys(row[key] for row in rows)) for key in _KEYS)
        bars = altair.Chart(altair.Data(values=rows)).mark_bar()
        chart = bars.encode(
            x=altair.X("contestant:N", sort=contestants, title=None),
            y=altair.Y("value:Q", title=title),
            color=altair.Color("contestant:N", sort=contestants, legend=None),
            column=altair.Column("load:N", sort=loads, title=None),
            row=altair.Row("accounts:N", sort=sizes, title=None),
        )
        yield f"bench_{name}", chart.properties(width=WIDTH, height=HEIGHT).resolve_scale(y="independent")


def growth_chart(record: dict[str, Any]) -> altair.VConcatChart:
    """One line per measure over the days, above each other."""
    lines = []
    for name, (title, unit) in MEASURES.items():
        rows = [{"day": one["day"], "value": one[name] / unit} for one in record["days"]]
        line = altair.Chart(altair.Data(values=rows)).mark_line(point=True)
        encoded = line.encode(
            x=altair.X("day:Q", title="Day", axis=altair.Axis(tickMinStep=1)), y=altair.Y("value:Q", title=title)
        )
        lines.append(encoded.properties(width=GROWTH_WIDTH, height=HEIGHT))
    title = f"{record['accounts']:,} accounts, {record['change_share']:.0%} of the keys changed every day"
    return altair.vconcat(*lines).properties(title=title)


def main(folder: str) -> None:
    """Draws bench.json and growth.json, whichever the folder has."""
    drawn: list[tuple[str, Any]] = []
    if (race := Path(folder, "bench.json")).exists():
        drawn += race_charts(json.loads(race.read_text(encoding="utf-8")))
    if (growth := Path(folder, "growth.json")).exists():
        drawn.append(("growth", growth_chart(json.loads(growth.read_text(encoding="utf-8")))))
    for name, chart in drawn:
        path = Path(folder, f"{name}.svg")
        chart.save(path)
        print(f"Written: {path}")


_KEYS = ("load", "accounts", "contestant")

if __name__ == "__main__":
    main(*sys.argv[1:])
