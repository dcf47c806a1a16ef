"""A pipeline of its own in a scratch folder, driven in this process, and its tables as plain rows.

A `Story` is a lab that took some loads: the tables after each of them are kept, and its folder can be copied and gone
on with (`continued`), which costs less than telling it again.
"""

from __future__ import annotations

import copy
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from sqlmesh.core.engine_adapter.base import EngineAdapter
from sqlmesh.core.snapshot import SnapshotEvaluator
from sqlmesh.utils.date import to_datetime

from scripts.job import Job, begin_record
from scripts.project.console import model_name
from scripts.results import AuditOutcome, FeedLoad
from scripts.settings import PROJECT_ROOT, Allowed, load_report_settings, load_settings
from scripts.warehouse import Warehouse
from scripts.warehouse.duckdb import DuckDBWarehouse
from tests.compare import assert_same_rows
from tests.feed_strategies import write_feeds
from tests.reference import Load, Reference

Rows = list[dict[str, Any]]
Window = tuple[datetime, datetime]

TABLES = (
    "landing.customer",
    "landing.account",
    "landing.unseen",
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
# Random loads are small and dirty: what guards stop is for their own tests.
EVERYTHING_ALLOWED = Allowed(removals=True, quarantine=True, shift=True)
# All that ingest writes.
LANDING = ("landing.customer", "landing.account", "landing.reject", "landing.unseen", "landing.load")

_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
# A statement that writes rows of a model's physical table: `layer__model__version`.
_WRITE = re.compile(
    r"(?P<verb>MERGE|INSERT|DELETE|UPDATE|TRUNCATE|CREATE|DROP|ALTER) "
    r"(?:(?:OR REPLACE|INTO|FROM|TABLE|IF NOT EXISTS) )*(?:\w+\.)*(?P<schema>[a-z]+)__(?P<table>\w+?)__\d+\b"
)


class Lab:
    """One pipeline: `take` brings a load through to the marts."""

    job: Job

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.inputs = folder / "inputs"
        self.inputs.mkdir(parents=True, exist_ok=True)
        self.open()

    def open(self) -> None:
        """Starts as the next process would."""
        self.job = Job(load_settings(str(self.inputs)), begin_record(load_report_settings()))

    def take(self, load: Load, *, full_refresh: bool = False) -> None:
        write_feeds(load, self.inputs)
        self.ingest(load.loaded_at)
        self.transform(load.loaded_at, full_refresh=full_refresh)

    def land(self, load: Load) -> None:
        """Takes a load into the landing zone only."""
        write_feeds(load, self.inputs)
        self.ingest(load.loaded_at)

    def ingest(self, as_of: datetime | None, *, allowed: Allowed = EVERYTHING_ALLOWED) -> list[FeedLoad]:
        self._begin_run()
        self.job.ingest(as_of, allowed)
        return self.job.record.loads

    def transform(self, as_of: datetime | None, *, full_refresh: bool = False) -> None:
        if self.job.record.execution_time:
            self._begin_run()
        self.job.transform(as_of, full_refresh)

    def _begin_run(self) -> None:
        """A job is one run; a lab's job serves for many, each with a record of its own."""
        self.job.record = begin_record(load_report_settings())

    def rows(self, table: str) -> Rows:
        return rows_of(self.job.warehouse, table)

    def tables(self, names: Sequence[str] = TABLES) -> dict[str, Rows]:
        return {table: self.rows(table) for table in names}

    def count(self, table: str) -> int:
        ((count,),) = self.job.warehouse.fetch(f"SELECT COUNT(*) FROM {table}")
        return int(count)

    def failed_audits(self) -> list[str]:
        return [f"{a.model}: {a.audit}" for a in self.job.record.audits if a.severity == "error" and not a.passed]

    def assert_equals(self, reference: Reference) -> None:
        """Checks every table, row for row."""
        assert_same_tables(reference.tables(), self.tables())

    @contextmanager
    def evaluated_windows(self) -> Iterator[dict[str, list[Window]]]:
        """The windows for which SQLMesh evaluates each model meanwhile: start and end, half-open."""
        original = SnapshotEvaluator.evaluate
        windows: dict[str, list[Window]] = {}

        def evaluate(evaluator: SnapshotEvaluator, snapshot: Any, **kwargs: Any) -> Any:
            start, end = (to_datetime(kwargs[name]).replace(tzinfo=None) for name in ("start", "end"))
            windows.setdefault(model_name(snapshot), []).append((start, end))
            return original(evaluator, snapshot, **kwargs)

        SnapshotEvaluator.evaluate = evaluate  # type: ignore[method-assign, assignment]
        try:
            yield windows
        finally:
            SnapshotEvaluator.evaluate = original  # type: ignore[method-assign]

    @contextmanager
    def writes(self) -> Iterator[dict[str, list[str]]]:
        """The statements that write the table of each model meanwhile, in order: MERGE, INSERT, CREATE and the like."""
        original = EngineAdapter._execute
        verbs: dict[str, list[str]] = {}

        def execute(adapter: EngineAdapter, sql: str, *args: Any, **kwargs: Any) -> None:
            if found := _WRITE.match(_COMMENT.sub(" ", sql).replace('"', "").strip()):
                verbs.setdefault(f"{found['schema']}.{found['table']}", []).append(found["verb"])
            original(adapter, sql, *args, **kwargs)

        EngineAdapter._execute = execute  # type: ignore[method-assign, assignment]
        try:
            yield verbs
        finally:
            EngineAdapter._execute = original  # type: ignore[method-assign]

    def close(self) -> None:
        """Ends as a process does: another one may open the database then."""
        if hasattr(self, "job"):
            self.job.close()
            del self.job


@contextmanager
def environment_of(folder: Path, **more: str) -> Iterator[None]:
    """The environment of a pipeline in `folder`, restored after."""
    settings = {
        "DATABASE_TYPE": "duckdb",
        "DUCKDB_PATH": str(folder / "lending_club.duckdb"),
        "INPUT_PATH": str(folder / "inputs"),
        "OUTPUT_PATH": str(folder / "outputs"),
        "QUALITY_REPORTS_PATH": str(folder / "quality_reports"),
        "LOCK_TIMEOUT": "0",
        **more,
    }
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def lab(folder: Path, **settings: str) -> Iterator[Lab]:
    """A lab in `folder`, with the environment set for it and restored after."""
    with environment_of(folder, **settings):
        current = Lab(folder)
        try:
            yield current
        finally:
            current.close()


@dataclass(frozen=True)
class Story:
    """Loads that one lab took one after the other.

    Attributes:
        folder: The lab's folder; the lab is closed.
        reference: The plain reference after the last load.
        after: Every table after each load.
        ledgers: The ledger rows of each load.
        audits: The audits that ran with each load.
    """

    folder: Path
    loads: list[Load]
    reference: Reference
    after: list[dict[str, Rows]]
    ledgers: list[list[FeedLoad]]
    audits: list[list[AuditOutcome]]

    def row(self, load_number: int, table: str, **values: Any) -> dict[str, Any] | None:
        """The only row with these values after a load (0 is the first), None where there is none."""
        found = select(self.after[load_number][table], **values)
        assert len(found) <= 1, found
        return found[0] if found else None


def tell(folder: Path, loads: Sequence[Load], **settings: str) -> Story:
    """Takes the loads, and checks every table against the reference after each."""
    story = Story(folder, list(loads), Reference(), [], [], [])
    with lab(folder, **settings) as current:
        for load in loads:
            story.reference.take(load)
            current.take(load)
            story.after.append(current.tables())
            story.ledgers.append(list(current.job.record.loads))
            story.audits.append(list(current.job.record.audits))
            assert_same_tables(story.reference.tables(), story.after[-1])
        current.job.export()
    return story


def tell_of_a_copy(folder: Path, loads: Sequence[Load]) -> Story:
    """The same in `folder/lab`, by the models of `folder/project`, a copy of this project.

    Its copies can go on with the story unchanged: SQLMesh takes note of how far from the project's root macros lie.
    """
    copy_project(folder / "project")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("scripts.project.transform.PROJECT_ROOT", folder / "project")
        return tell(folder / "lab", loads)


def copy_its_project(story: Story, folder: Path) -> None:
    """The project of a `tell_of_a_copy`, with what SQLMesh has kept of it: that spares reading every model anew."""
    shutil.copytree(story.folder.parent / "project", folder)


@contextmanager
def continued(story: Story, folder: Path, **settings: str) -> Iterator[tuple[Lab, Reference]]:
    """A lab and a reference that go on where the story ended; the story itself stays as it is."""
    shutil.copytree(story.folder, folder, dirs_exist_ok=True)
    with lab(folder, **settings) as current:
        yield current, copy.deepcopy(story.reference)


@contextmanager
def open_in_another_process(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Another process has the database file open meanwhile, or until it is killed."""
    holding = "import duckdb, sys; held = duckdb.connect(sys.argv[1]); print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", holding, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        yield process
        process.kill()


def rows_of(warehouse: Warehouse, table: str) -> Rows:
    columns = [name for name, *_ in warehouse.fetch(f"DESCRIBE {table}")]
    return [dict(zip(columns, row, strict=True)) for row in warehouse.fetch(f"SELECT * FROM {table}")]


def stored_tables(folder: Path, names: Sequence[str] = TABLES) -> dict[str, Rows]:
    """Tables of a pipeline that no process has open."""
    warehouse = DuckDBWarehouse.open(folder / "lending_club.duckdb")
    try:
        return {table: rows_of(warehouse, table) for table in names}
    finally:
        warehouse.close()


def assert_same_tables(expected: dict[str, Rows], actual: dict[str, Rows]) -> None:
    """Checks that both hold the same tables with the same rows."""
    assert expected.keys() == actual.keys()
    for table, rows in expected.items():
        assert_same_rows(rows, actual[table], table)


def newest(reference: Reference) -> datetime:
    """Time of the last load."""
    assert reference.last_loaded_at is not None
    return reference.last_loaded_at


def select(rows: Rows, **values: Any) -> Rows:
    """The rows with these values."""
    return [row for row in rows if all(row[column] == value for column, value in values.items())]


def copy_project(folder: Path) -> None:
    """The SQLMesh project without what it stores."""
    for name in (
        "audits",
        "feeds",
        "linter",
        "macros",
        "materializations",
        "models",
        "scripts",
        "seeds",
        "tests/models",
    ):
        shutil.copytree(PROJECT_ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("config.py", "external_models.yaml"):
        shutil.copy(PROJECT_ROOT / name, folder / name)


def file_bytes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file under a folder, by its path there."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
