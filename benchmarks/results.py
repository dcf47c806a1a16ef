"""What was measured, as a record: where, with which versions, all single values, and their medians."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.contestants import BENCHMARKS, DBT, OURS
from benchmarks.race import Measurement

RESULTS = BENCHMARKS / "results"
# By the names of the record: what a measurement is read as.
MEASURES: dict[str, Callable[[Measurement], float]] = {
    "wall_seconds": lambda one: one.usage.wall_seconds,
    "cpu_seconds": lambda one: one.usage.cpu_seconds,
    "peak_bytes": lambda one: one.usage.peak_bytes,
    "database_bytes": lambda one: one.database_bytes,
}


@dataclass(frozen=True)
class Median:
    """The medians over all rounds of one contestant and load.

    Attributes:
        values: By the names of `MEASURES`.
        ratios: The same, each divided by that of `ours`: above 1 takes more than ours. Empty without ours.
    """

    accounts: int
    load: str
    contestant: str
    values: dict[str, float]
    ratios: dict[str, float]


def medians(measurements: Sequence[Measurement]) -> list[Median]:
    """One per size, load and contestant, in the order in which they were first measured."""
    groups: dict[tuple[int, str, str], list[Measurement]] = {}
    for one in measurements:
        groups.setdefault((one.accounts, one.load, one.contestant), []).append(one)
    values = {key: _medians_of(group) for key, group in groups.items()}
    found = []
    for (accounts, load, contestant), its in values.items():
        ours = values.get((accounts, load, OURS.name), {})
        ratios = {name: its[name] / ours[name] for name in ours}
        found.append(Median(accounts, load, contestant, its, ratios))
    return found


def record_of(machine: dict[str, Any], measurements: Sequence[Measurement], rounds: int) -> dict[str, Any]:
    """The whole record, ready for JSON: machine, rounds, measurements, medians."""
    return {
        "machine": machine,
        "rounds": rounds,
        "measurements": [asdict(one) for one in measurements],
        "medians": [asdict(one) for one in medians(measurements)],
    }


def write_record(record: dict[str, Any], kind: str, *folders: Path) -> list[Path]:
    """Writes a record as `<kind>.json` into each folder; the first one's name has the time (UTC), too."""
    kept, *others = folders
    paths = [kept / f"{kind}_{datetime.now(UTC):%Y%m%dT%H%M%SZ}.json", *(folder / f"{kind}.json" for folder in others)]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return paths


def machine_facts() -> dict[str, Any]:
    """Cores, bytes of memory, versions, and what else the machine does (load of the last minute): ask it beforehand."""
    return {
        "measured_at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "load_average": round(os.getloadavg()[0], 2),
        "system": platform.platform(),
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("duckdb", "sqlmesh")},
            **dict(_versions_of_dbt()),
        },
    }


def _versions_of_dbt() -> Iterator[tuple[str, str]]:
    names = ("dbt-core", "dbt-duckdb")
    if DBT.exists():
        asks = f"from importlib.metadata import version; print(*map(version, {names!r}))"
        told = subprocess.run([DBT.with_name("python"), "-c", asks], capture_output=True, text=True, check=True)
        yield from zip(names, told.stdout.split(), strict=True)


def _medians_of(group: Sequence[Measurement]) -> dict[str, float]:
    return {name: median(map(measure, group)) for name, measure in MEASURES.items()}
