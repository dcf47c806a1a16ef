"""What a run leaves behind for its summary and its quality report."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime

LAYERS = ("source", "staging", "snapshots", "intermediate", "marts", "reference")


@dataclass(frozen=True)
class FeedLoad:
    """One row of the ledger `landing.load`: what one file of one load held and what it changed.

    `rows_read_count = new + changed + unchanged + duplicate` and `data_line_count = rows_read_count + rejected_count`.
    `gone_count` counts tombstones: keys that were known and are missing from this file.
    """

    loaded_at: datetime
    feed: str
    file_name: str
    sha256: str
    byte_count: int
    data_line_count: int
    rows_read_count: int
    new_count: int
    changed_count: int
    gone_count: int
    unchanged_count: int
    duplicate_count: int
    rejected_count: int
    encoding: str = "utf-8"


@dataclass(frozen=True)
class Event:
    """What a load warns of: of how many, and the sentence that says it."""

    name: str
    count: int
    message: str


@dataclass(frozen=True)
class AuditOutcome:
    """Result of one audit of one model, `layer.model_name`, where the layer is one of `LAYERS`.

    Attributes:
        audit: Name of the audit, with its columns where it takes some: `not_null(customer_id, loaded_at)`.
        severity: `error` (blocking) or `warn`.
        failed_count: Rows that the audit's query returned; 0 = passed.
        query: The audit's SQL, as it ran; nothing where it passed.
    """

    audit: str
    model: str
    layer: str
    severity: str
    failed_count: int
    query: str

    @property
    def passed(self) -> bool:
        return self.failed_count == 0


@dataclass(frozen=True)
class ModelOutcome:
    """One model's evaluation in this run: seconds, and the rows that it holds after (None: it could not be read)."""

    model: str
    layer: str
    seconds: float
    row_count: int | None


@dataclass(frozen=True)
class StatementOutcome:
    """One statement, by its beginning, on a warehouse that has it in its query history by its id; `model` is
    `layer.model_name` of the table that it names first, None for others."""

    model: str | None
    seconds: float
    query_id: str
    sql: str


@dataclass(frozen=True)
class ExportedFile:
    """A file under OUTPUT_PATH; `written` is False where it already held exactly these rows."""

    path: str
    row_count: int
    byte_count: int
    sha256: str
    written: bool


@dataclass
class RunRecord:
    """Everything one run did. Times are UTC without zone.

    Attributes:
        status: `running`, `succeeded` or `failed`.
        loaded_at: Time of the newest committed load that the run brought through, None when there is none.
        execution_time: End of the time window that the models were run for.
        step_seconds: Seconds per step, in the order run: ingest, plan, run, reconcile, export.
    """

    run_id: str
    environment: str
    gateway: str
    started_at: datetime
    status: str = "running"
    finished_at: datetime | None = None
    loaded_at: datetime | None = None
    execution_time: datetime | None = None
    error: str | None = None
    loads: list[FeedLoad] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    audits: list[AuditOutcome] = field(default_factory=list)
    models: list[ModelOutcome] = field(default_factory=list)
    statements: list[StatementOutcome] = field(default_factory=list)
    exports: list[ExportedFile] = field(default_factory=list)
    step_seconds: dict[str, float] = field(default_factory=dict)


def short_name(full_name: str) -> str:
    """`layer.model` of SQLMesh's quoted name with the catalog."""
    return ".".join(part.strip('"') for part in full_name.split(".")[-2:])


def versions_by_name(model_versions: str) -> dict[str, str]:
    """The exact version of each model by its name, of the text that `landing.run` keeps."""
    versions = (version.rsplit(" ", 1) for version in json.loads(model_versions))
    return {short_name(name): identifier for name, identifier in versions}
