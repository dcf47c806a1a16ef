"""The models' part of a run: SQLMesh plans what changed in the project and runs what is new in the data."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import duckdb
from rich.console import Console
from sqlglot import exp, parse_one
from sqlmesh import Context
from sqlmesh.core import constants
from sqlmesh.core.console import set_console
from sqlmesh.core.snapshot import SnapshotEvaluator
from sqlmesh.utils.errors import SQLMeshError

from scripts.clock import from_milliseconds, hour_of
from scripts.errors import BlockingAuditError, PipelineError
from scripts.feeds import Feed
from scripts.results import AuditOutcome, RunRecord
from scripts.settings import PROJECT_ROOT, Settings
from scripts.sqlmesh_console import RunConsole, model_name
from scripts.warehouse import Warehouse
from scripts.warehouse.duckdb import DuckDBWarehouse, locked_message
from scripts.warehouse.open import open_warehouse

PROD = "prod"


class Project:
    """The SQLMesh project of this folder on one gateway."""

    def __init__(self, settings: Settings, console: Console) -> None:
        self._console = RunConsole(console)
        set_console(self._console)
        # SQLMesh would read the models in forked processes: a fork may hang where threads run, as DuckDB's do here.
        constants.MAX_FORK_WORKERS = 1
        self._settings = settings
        self.context = Context(paths=[str(PROJECT_ROOT)], gateway=settings.gateway)

    def warehouse(self) -> Warehouse:
        """The tables of the project's gateway; on DuckDB over SQLMesh's own connection, for a file takes only one."""
        if self._settings.gateway == "duckdb":
            return DuckDBWarehouse(self.context.engine_adapter.connection.cursor())
        return open_warehouse(self._settings)

    def close(self) -> None:
        self.context.close()

    def closed_until(self) -> datetime | None:
        """End of the last window that any model of any environment has on record as processed; None: there is none."""
        state = self.context.state_sync
        ends = [
            end
            for environment in state.get_environments()
            for end in state.max_interval_end_per_model(environment.name).values()
        ]
        return from_milliseconds(max(ends)) if ends else None

    def judged(self, feed: Feed, rows: str) -> str:
        """The project's rules of validity as a query over other rows (a query, too) than those of `source`."""
        model = self.context.get_model(f"staging.judged_{feed.name}", raise_if_missing=True)
        # SQLMesh keeps what it has rendered.
        query = model.render_query_or_raise().copy()
        for table in list(query.find_all(exp.Table)):
            if table.name == f"src_{feed.name}":
                table.replace(exp.Subquery(this=parse_one(rows, dialect="duckdb"), alias=table.args["alias"]))
        return query.sql(dialect="duckdb")

    def is_planned(self) -> bool:
        """Whether prod holds the models exactly as they stand in this folder."""
        environment = self.context.state_sync.get_environment(PROD)
        if environment is None:
            return False
        local = {snapshot.snapshot_id for snapshot in self.context.snapshots.values()}
        return local == {snapshot.snapshot_id for snapshot in environment.snapshots}

    def plan(self, execution_time: datetime) -> None:
        """Brings prod to the models as they stand, for the hours that are over; the run takes the rest.

        A first plan makes the views only: there is nothing yet that the run after it would not take.

        Raises:
            BlockingAuditError: A model or a blocking audit failed.
        """
        try:
            self.context.plan(
                PROD,
                execution_time=hour_of(execution_time),
                skip_backfill=self.context.state_sync.get_environment(PROD) is None,
                no_prompts=True,
                auto_apply=True,
                no_diff=True,
                skip_tests=True,
            )
        except SQLMeshError as error:
            raise self._failure(str(error)) from error

    def forget_windows(self) -> None:
        """Takes every window of prod's models off the record: the next run builds them from nothing.

        SQLMesh's own restatement ends at a whole second and leaves what was processed after it on record.
        """
        state = self.context.state_sync
        environment = state.get_environment(PROD)
        if environment:
            state.remove_intervals(
                [
                    (snapshot, (snapshot.intervals[0][0], snapshot.intervals[-1][1]))
                    for snapshot in state.get_snapshots(environment.snapshots).values()
                    if snapshot.intervals
                ]
            )

    def run(self, execution_time: datetime) -> None:
        """Runs every model for its window up to `execution_time` (exclusive), the hour under way included.

        Raises:
            BlockingAuditError: A model or a blocking audit failed; what stands after it was not run.
        """
        status = self.context.run(PROD, execution_time=execution_time, ignore_cron=True)
        if status.is_failure:
            raise self._failure("The run failed.")

    def model_versions(self) -> str:
        """The exact versions of prod's models, as text."""
        environment = self.context.state_sync.get_environment(PROD)
        return json.dumps(sorted(f"{s.name} {s.identifier}" for s in environment.snapshots)) if environment else "[]"

    def close_finished_hours(self, warehouse: Warehouse, execution_time: datetime) -> None:
        """Records the hour of the last run as processed where that run has seen all of it.

        An hour counts as processed only when all of it is, so without this the hour of the last run, however much was
        loaded in it, is evaluated once more. In any doubt it is.
        """
        last = warehouse.fetch(
            "SELECT execution_time, finished_at, model_versions FROM landing.run ORDER BY finished_at DESC LIMIT 1"
        )
        if not last:
            return
        ran_until, finished_at, versions = last[0]
        hour = hour_of(ran_until)
        end = hour + timedelta(hours=1)
        if execution_time < end or hour == ran_until or _loads_between(warehouse, ran_until, end):
            return
        known = set(json.loads(versions))
        for snapshot in self.context.state_sync.get_snapshots(
            self.context.state_sync.get_environment(PROD).snapshots  # type: ignore[union-attr]
        ).values():
            unaltered = snapshot.last_altered_ts is None or from_milliseconds(snapshot.last_altered_ts) <= finished_at
            ends_with_run = snapshot.intervals and from_milliseconds(snapshot.intervals[-1][1]) == ran_until
            if unaltered and ends_with_run and f"{snapshot.name} {snapshot.identifier}" in known:
                self.context.state_sync.add_interval(snapshot, hour, end)

    def audit(self, start: datetime, end: datetime) -> None:
        """Audits every model for a window as its rows stand, without running it."""
        self.context.audit(start, end, execution_time=end)

    def collect(self, record: RunRecord, warehouse: Warehouse) -> None:
        """Moves the models' outcomes seen so far into the record of the run, one per model, windows added up."""
        for model in dict.fromkeys(outcome.model for outcome in self._console.models):
            outcomes = [outcome for outcome in self._console.models if outcome.model == model]
            seconds = sum(outcome.seconds for outcome in outcomes)
            record.models.append(replace(outcomes[0], seconds=seconds, row_count=_count_rows(warehouse, model)))
        self._console.models.clear()

    @contextmanager
    def recorded_audits(self, record: RunRecord) -> Iterator[None]:
        """Puts the result of every audit that SQLMesh runs meanwhile into the record, passed ones too.

        SQLMesh hands them to nobody: consoles see counts only, and a failure stops the run.
        """
        original = SnapshotEvaluator.audit
        outcomes: dict[tuple[str, str], AuditOutcome] = {}

        def audit(evaluator: SnapshotEvaluator, snapshot: Any, **kwargs: Any) -> Any:
            # Without an adapter the model's declared types serve; with one, SQLMesh asks the warehouse for the table's
            # columns before every audit, which on Databricks takes as long as many an audit.
            results = original(evaluator, snapshot, engine_adapter=None, **kwargs)
            for result in results:
                if result.skipped:
                    continue
                outcome = _outcome(snapshot, result, evaluator.adapter.dialect)
                earlier = outcomes.get((outcome.model, outcome.audit))
                outcomes[outcome.model, outcome.audit] = _merged(earlier, outcome) if earlier else outcome
            return results

        SnapshotEvaluator.audit = audit  # type: ignore[method-assign, assignment]
        try:
            yield
        finally:
            SnapshotEvaluator.audit = original  # type: ignore[method-assign]
            record.audits.extend(outcomes.values())

    def _failure(self, fallback: str) -> BlockingAuditError:
        failures = self._console.failures or [fallback]
        return BlockingAuditError(
            "\n\n".join(failures)
            + "\n\nWhat stands after it is as it was before this run. Mend the cause and run again."
        )


def _loads_between(warehouse: Warehouse, start: datetime, end: datetime) -> int:
    ((count,),) = warehouse.fetch(
        f"SELECT COUNT(*) FROM landing.load WHERE loaded_at >= TIMESTAMP '{start}' AND loaded_at < TIMESTAMP '{end}'"
    )
    return int(count)


def _count_rows(warehouse: Warehouse, model: str) -> int | None:
    """Rows of a model; None where it has no table yet, as after a failed first run."""
    try:
        return int(warehouse.fetch(f"SELECT COUNT(*) FROM {model}")[0][0])
    except (duckdb.Error, PipelineError):
        return None


def _outcome(snapshot: Any, result: Any, dialect: str) -> AuditOutcome:
    name = model_name(snapshot)
    arguments = ", ".join(
        value.sql(dialect="duckdb") for key, value in result.audit_args.items() if key in ("columns", "column", "key")
    )
    return AuditOutcome(
        audit=f"{result.audit.name}({arguments.strip('()')})" if arguments else result.audit.name,
        model=name,
        layer=name.split(".")[0],
        severity="error" if result.blocking else "warn",
        failed_count=result.count or 0,
        query=result.query.sql(dialect=dialect, pretty=True) if result.query is not None else "",
    )


def _merged(earlier: AuditOutcome, later: AuditOutcome) -> AuditOutcome:
    """One outcome for an audit that ran for two windows; the query shown is that of a failure, if there is one."""
    return AuditOutcome(
        audit=later.audit,
        model=later.model,
        layer=later.layer,
        severity=later.severity,
        failed_count=earlier.failed_count + later.failed_count,
        query=later.query if later.failed_count or not earlier.failed_count else earlier.query,
    )


def open_project(settings: Settings, console: Console) -> Project:
    """Loads the project.

    Raises:
        PipelineError: Another process has the database file open, or the project or the file can't be read.
    """
    try:
        return Project(settings, console)
    except duckdb.IOException as error:
        raise PipelineError(locked_message(settings.duckdb_path, error)) from error
    except SQLMeshError as error:
        raise PipelineError(f"The SQLMesh project can't be loaded: {error}") from error
