"""A pipeline of its own in a scratch folder, driven in this process, and its tables as plain rows."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from scripts.pipeline import Job
from scripts.settings import load_settings
from tests.feed_strategies import write_feeds
from tests.reference import Load

TABLES = (
    "landing.customer",
    "landing.account",
    "source.src_customer",
    "source.src_account",
    "staging.stg_customer",
    "staging.stg_account",
    "staging.quarantine_customer",
    "staging.quarantine_account",
    "snapshots.snap_customer",
    "snapshots.snap_account",
    "intermediate.int_account_with_customer",
    "intermediate.int_savings_account_only",
    "marts.account_summary",
    "marts.customer_profile",
    "reference.interest_rate_tier",
)


class Lab:
    """One pipeline: `take` brings a load through to the marts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.inputs = folder / "inputs"
        self.inputs.mkdir(parents=True, exist_ok=True)
        self.job = Job(load_settings(str(self.inputs)))

    def take(self, load: Load, *, full_refresh: bool = False) -> None:
        write_feeds(load, self.inputs)
        self.ingest(load.loaded_at, full_refresh=full_refresh)
        self.transform(load.loaded_at, full_refresh=full_refresh)

    def ingest(self, as_of: datetime | None, *, full_refresh: bool = False) -> None:
        self.job.ingest(as_of, allow_removals=True, full_refresh=full_refresh)

    def transform(self, as_of: datetime | None, *, full_refresh: bool = False) -> None:
        self.job.record.audits.clear()
        self.job.transform(as_of, full_refresh)

    def rows(self, table: str) -> list[dict[str, Any]]:
        columns = [name for name, *_ in self.job.warehouse.fetch(f"DESCRIBE {table}")]
        return [dict(zip(columns, row, strict=True)) for row in self.job.warehouse.fetch(f"SELECT * FROM {table}")]

    def tables(self) -> dict[str, list[dict[str, Any]]]:
        return {table: self.rows(table) for table in TABLES}

    def failed_audits(self) -> list[str]:
        return [f"{a.model}: {a.audit}" for a in self.job.record.audits if a.severity == "error" and not a.passed]

    def close(self) -> None:
        self.job.close()


@contextmanager
def lab(folder: Path) -> Iterator[Lab]:
    """A lab in `folder`, with the environment set for it and restored after."""
    settings = {
        "DATABASE_TYPE": "duckdb",
        "DUCKDB_PATH": str(folder / "lending_club.duckdb"),
        "OUTPUT_PATH": str(folder / "outputs"),
        "QUALITY_REPORTS_PATH": str(folder / "quality_reports"),
    }
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    current = Lab(folder)
    try:
        yield current
    finally:
        current.close()
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
