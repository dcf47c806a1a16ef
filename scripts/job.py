"""One run of the pipeline in one process: its steps, what it records of them, and the report at its end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import datetime
from pathlib import Path
from time import perf_counter
from uuid import uuid4

from rich.console import Console
from rich.markup import escape

from scripts.clock import FIRST_LOAD_AT, end_of_window, hour_of, utc_now
from scripts.errors import BlockingAuditError, PipelineError, for_files
from scripts.reconcile.agreement import refuse_disagreement, tiers_of
from scripts.reconcile.landed_rows import check_ledger, reconcile
from scripts.report.console import print_report
from scripts.report.quality_report import build_report, write_report
from scripts.results import AuditOutcome, RunRecord, versions_by_name
from scripts.settings import Allowed, ReportSettings, Settings, databricks_of, load_report_settings, load_settings
from scripts.warehouse.open import once_free, open_warehouse
from scripts.warehouse.ownership import refuse_foreign_objects
from scripts.wording import count

# Importing SQLMesh takes seconds, and the engines' libraries parts of one: steps import what needs them.

console = Console(highlight=False)


class Job:
    """One run in one process: its steps share the SQLMesh project, the warehouse and the record of what they did."""

    def __init__(self, settings: Settings, record: RunRecord) -> None:
        from scripts.project.transform import open_project

        self.settings, self.record = settings, record
        warn_of_others_tables(settings)
        self.project = open_project(settings, console)
        self.warehouse = self.project.warehouse

    def ingest(self, as_of: datetime | None, allowed: Allowed) -> None:
        from scripts.ingest.guards import warn_of_ambiguous_amounts, warn_of_removals
        from scripts.ingest.load import ingest
        from scripts.ingest.sample import SAMPLE, lay_out_sample

        with self._step("ingest", f"taking the feeds of {self.settings.input_path}"):
            if lay_out_sample(self.warehouse, self.settings):
                console.print(f"    no feeds there yet: the sample was copied from {SAMPLE}", soft_wrap=True)
            judged, reopen = self.project.judged, self.project.reopen
            loads = ingest(self.warehouse, self.settings, judged, as_of=as_of, reopen=reopen, allowed=allowed)
            self.record.loads = loads
            if self.settings.gateway == "databricks":
                # A plain `sqlmesh run` beside this may have passed the load by before it was committed.
                reopen(loads[0].loaded_at)
            self.record.events = [
                *warn_of_removals(self.warehouse, loads, self.settings.warn_removed_share),
                *warn_of_ambiguous_amounts(self.warehouse, loads),
            ]
        for load in loads:
            console.print(
                f"    {load.file_name:<14}{load.rows_read_count:>12,} rows   {load.new_count:,} new · "
                f"{load.changed_count:,} changed · {load.unchanged_count:,} unchanged · "
                f"{load.duplicate_count:,} duplicate; {count(load.rejected_count, 'line', 'lines')} rejected, "
                f"{count(load.gone_count, 'key', 'keys')} gone",
                soft_wrap=True,
            )

    def transform(self, as_of: datetime | None, full_refresh: bool = False) -> None:
        from scripts.ingest.load import create_landing, last_loaded_at
        from scripts.project import restore, windows

        create_landing(self.warehouse)
        loaded_at = last_loaded_at(self.warehouse)
        # No further than the newest load without being told: hours that have passed are closed to dated loads.
        execution_time = end_of_window(max(filter(None, (as_of, loaded_at)), default=utc_now()))
        self.record.loaded_at, self.record.execution_time = loaded_at, execution_time
        with self.project.recorded(self.record):
            if full_refresh:
                # Not only at the end: history would be rebuilt without the rows that were lost.
                check_ledger(self.warehouse)
                self.project.reopen()
            until = f"up to {execution_time:%Y-%m-%d %H:%M:%S} UTC"
            if not self.project.is_planned():
                with self._step("plan", f"bringing prod to this project, {until}"):
                    self._note_rate_change()
                    self.project.deploy(execution_time)
            else:
                what = "rebuilding every model" if full_refresh else "running the models"
                with self._step("run", f"{what} {until}"):
                    self._note_rate_change()
                    windows.close_finished_hours(self.project.context, self.warehouse, execution_time)
                    self.project.run(execution_time)
            for view in restore.restore_views(self.project.context, self.warehouse):
                console.print(f"    {view} was not there any more: made again", soft_wrap=True)
        with self._step("reconcile", "checking that every landed row arrived, and that the marts agree with history"):
            reconcile(self.warehouse, self._run_again_from)
            refuse_disagreement(self.warehouse)
            run_id, started_at = self.record.run_id, self.record.started_at
            windows.record_run(self.project.context, self.warehouse, run_id, started_at, execution_time)

    def _note_rate_change(self) -> None:
        from scripts.project.rate_changes import note_rate_change

        if note_rate_change(self.project.context, self.warehouse):
            console.print("    rates of interest changed: every row of the marts is calculated anew", soft_wrap=True)

    def _run_again_from(self, missed: datetime) -> None:
        """Runs the models once more, whatever the record says of their windows from this time on."""
        assert self.record.execution_time
        what = f"rows of the load of {missed} UTC were missing from the models"
        console.print(f"    {what}: run again from there", soft_wrap=True)
        with self.project.recorded(self.record):
            self.project.reopen(missed)
            self.project.run(self.record.execution_time)

    def export(self) -> None:
        from scripts.ingest.load import last_loaded_at
        from scripts.outputs.export import Reflects, export_marts
        from scripts.project.windows import model_versions

        folder = self.settings.output_path
        with self._step("export", f"writing {folder}"):
            loaded_at = self.record.loaded_at or last_loaded_at(self.warehouse)
            models = versions_by_name(model_versions(self.project.context))
            reflects = Reflects(loaded_at, self.settings.environment, models, tiers_of(self.warehouse))
            self.record.exports = export_marts(self.warehouse, self.project.marts_of_prod, folder, reflects)

    def refuse_unproven(self) -> None:
        """Stops, with a BlockingAuditError, where the marts do not hold the newest load, with every audit passed, or
        disagree with history."""
        from scripts.ingest.load import last_loaded_at
        from scripts.project.windows import prod_is_right_until

        newest, proven = last_loaded_at(self.warehouse), prod_is_right_until(self.project.context)
        if newest and (proven is None or proven <= newest):
            raise BlockingAuditError(
                f"The marts do not hold the newest load, {newest} UTC, with every audit passed: nothing was written.",
                "Run `python -m scripts.pipeline transform`, or take the marts as they stand with --anyway.",
            )
        refuse_disagreement(self.warehouse)

    def check_publish_target(self, replace: bool) -> None:
        """Finds out before the load what would stop its end."""
        from scripts.outputs.publish import check_target
        from scripts.warehouse.databricks import DatabricksWarehouse

        assert isinstance(self.warehouse, DatabricksWarehouse)
        check_target(self.warehouse, databricks_of(self.settings), self.project.marts, replace=replace)

    def publish(self, replace: bool = False) -> None:
        from scripts.outputs.publish import publish_marts

        target = databricks_of(self.settings)
        with self._step("publish", f"replacing the marts in {target.catalog}.{target.schema}"):
            marts = self.project.marts_of_prod
            for table, rows in publish_marts(self.warehouse, self.settings, marts, replace=replace).items():
                console.print(f"    {target.catalog}.{table:<24}{rows:>12,} rows, money checked", soft_wrap=True)

    def audit(self, full: bool, models: Collection[str] = (), audits: Collection[str] = ()) -> None:
        from scripts.ingest.load import create_landing, last_loaded_at

        create_landing(self.warehouse)
        loaded_at = last_loaded_at(self.warehouse)
        if loaded_at is None:
            raise PipelineError("Nothing is loaded yet, so there is nothing to audit. Run `make run` first.")
        start, end = FIRST_LOAD_AT if full else hour_of(loaded_at), end_of_window(loaded_at)
        self.record.loaded_at, self.record.execution_time = loaded_at, end
        with self._step("audit", f"auditing {'all rows' if full else 'the hour of the newest load'}"):
            for outcomes in self.project.audit(self.record, start, end, models, audits):
                console.print(_audit_line(outcomes), soft_wrap=True)
        broken = [outcome for outcome in self.record.audits if not outcome.passed]
        warned, failed = ([one for one in broken if one.severity == severity] for severity in ("warn", "error"))
        if warned:
            console.print(f"\n{_sentences(warned)}", markup=False, soft_wrap=True)
        if failed:
            raise BlockingAuditError(
                f"{_sentences(failed)}\n\nNothing was changed. Where a table was damaged, "
                "`python -m scripts.pipeline run --full-refresh` rebuilds all of them from the landing zone."
            )

    def close(self) -> None:
        self.warehouse.close()
        self.project.close()

    @contextmanager
    def _step(self, name: str, what: str) -> Iterator[None]:
        console.print(f"[bold]{name}[/bold]  {escape(what)}", soft_wrap=True)
        started = perf_counter()
        try:
            yield
        finally:
            self.record.step_seconds[name] = round(perf_counter() - started, 3)


def warn_of_others_tables(settings: Settings, environment: str = "prod") -> None:
    """Stops, with a ForeignObjectsError, where the job would take somebody's tables away, and names those that are
    merely in the way of nobody."""
    if settings.gateway == "duckdb" and not settings.duckdb_path.exists():
        return
    with closing(once_free(lambda: open_warehouse(settings), settings.lock_timeout, console)) as warehouse:
        for stored in refuse_foreign_objects(warehouse, settings, environment):
            name = escape(f"{stored.schema}.{stored.name}")
            until = "" if environment == "prod" else " SQLMesh drops the schema when it drops this environment."
            console.print(f"[yellow]{name} is not this project's: it is left alone.{until}[/yellow]", soft_wrap=True)


def _audit_line(outcomes: list[AuditOutcome]) -> str:
    """A model's name and how many of its audits went how."""
    found = Counter(outcome.severity for outcome in outcomes if not outcome.passed)
    line = f"    {outcomes[0].model:<42}{len(outcomes) - found.total()} audits passed"
    line += f", [yellow]{found['warn']} warned[/yellow]" if found["warn"] else ""
    return line + (f", [red]{found['error']} failed[/red]" if found["error"] else "")


def _sentences(outcomes: Iterable[AuditOutcome]) -> str:
    """What each of these audits found, with the query that shows the rows."""
    return "\n\n".join(
        f"{outcome.model}: {'' if outcome.severity == 'error' else 'non-'}blocking audit {outcome.audit} "
        f"failed with {outcome.failed_count:,} row(s). Query:\n{outcome.query}"
        for outcome in outcomes
    )


@contextmanager
def job(inputs: str | None = None, *, reports: bool = True) -> Iterator[Job]:
    """Opens a job, and ends it with its report, whether its steps went well or not, or it could not even begin."""
    of_reports = load_report_settings()
    record = begin_record(of_reports)
    current = None
    with ExitStack() as closing:
        try:
            current = Job(load_settings(inputs), record)
            closing.callback(current.close)
            if current.settings.gateway == "databricks":
                from scripts.warehouse.query_history import recorded_statements

                closing.enter_context(recorded_statements(record.statements))
            yield current
        except BaseException as error:
            if reports:
                finish(record, current, of_reports.folder, error)
            raise
        if reports:
            finish(record, current, of_reports.folder)


def begin_record(of_reports: ReportSettings) -> RunRecord:
    """The record of a run that begins now."""
    return RunRecord(uuid4().hex, of_reports.environment, of_reports.gateway, started_at=utc_now())


def finish(record: RunRecord, ended: Job | None, folder: Path, error: BaseException | None = None) -> None:
    """Closes the record, writes the quality report and prints the summary; `ended` is None where the job could not be
    opened."""
    record.status = "failed" if error else "succeeded"
    record.error = for_files(error) if error else None
    record.finished_at = utc_now()
    report = build_report(record, ended.warehouse if ended else None)
    try:
        path = write_report(report, folder)
    except PipelineError as unwritten:
        if error is None:
            raise
        console.print(f"\n{unwritten}", markup=False, soft_wrap=True)
        return
    if error is None:
        console.print()
        print_report(report, console)
    console.print(f"\nQuality report: {path.with_suffix('.html')}", markup=False, soft_wrap=True)
