"""What one gateway makes of some loads, and whether the other makes the same of them (invariant 6)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from tests.databricks.fixture import RehearsalServer
from tests.databricks.lab import Table, assert_same, databricks_lab, forget_everything, read_tables
from tests.lab import Lab, lab
from tests.marts import OUTPUTS
from tools.smoke_databricks import exported_files

# Small files, in which a line too many fields long is soon a large share of all.
DIRT_ALLOWED = {"MAX_REJECTED_SHARE": "1"}


@dataclass(frozen=True)
class Outcome:
    """What one gateway made of some loads: all tables, and every exported file, after each of them."""

    tables: list[dict[str, Table]]
    exports: list[dict[str, bytes]]


class Recorder:
    """Takes loads in a lab and keeps what they led to."""

    def __init__(self, current: Lab) -> None:
        self.lab = current
        self.outcome = Outcome([], [])

    def take(self, loaded_at: datetime) -> None:
        self.lab.ingest(loaded_at)
        self.lab.transform(loaded_at)
        assert self.lab.failed_audits() == []
        self.lab.job.export()
        self.outcome.tables.append(read_tables(self.lab))
        self.outcome.exports.append(exported_files(self.lab.folder / "outputs"))


def on_both_gateways(server: RehearsalServer, folder: Path, take: Callable[[Lab], Outcome]) -> tuple[Outcome, Outcome]:
    forget_everything(server, folder)
    with lab(folder / "duckdb", **DIRT_ALLOWED) as current:
        on_duckdb = take(current)
    with databricks_lab(server, folder / "databricks", **DIRT_ALLOWED) as current:
        return on_duckdb, take(current)


def assert_equal_after_each_load(outcomes: tuple[Outcome, Outcome], loads_count: int) -> None:
    on_duckdb, on_databricks = outcomes
    assert len(on_duckdb.tables) == len(on_databricks.tables) == loads_count
    for expected, actual in zip(on_duckdb.tables, on_databricks.tables, strict=True):
        assert len(actual) == 18
        assert_same(expected, actual)
    for expected_files, actual_files in zip(on_duckdb.exports, on_databricks.exports, strict=True):
        assert set(expected_files) == set(OUTPUTS)
        assert expected_files == actual_files
    assert all(table.rows for table in on_databricks.tables[-1].values()), "an empty table proves nothing"
    assert on_duckdb.exports[0] != on_duckdb.exports[-1]
