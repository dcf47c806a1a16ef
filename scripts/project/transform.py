"""The models' part of a run: SQLMesh plans what changed in the project and runs what is new in the data."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from io import StringIO
from typing import Any

import duckdb
from rich.console import Console
from ruamel.yaml.error import YAMLError
from sqlglot import exp, parse_one
from sqlmesh import Context
from sqlmesh.core.config import DuckDBConnectionConfig
from sqlmesh.core.console import set_console
from sqlmesh.core.engine_adapter.base import EngineAdapter
from sqlmesh.core.snapshot import Snapshot
from sqlmesh.utils import yaml
from sqlmesh.utils.errors import LinterError, SQLMeshError

from scripts.errors import BlockingAuditError, DeployRefusedError, PipelineError, WrongUsageError, reason
from scripts.feeds import Feed
from scripts.outputs.marts import Mart, exported_marts
from scripts.project import windows
from scripts.project.branch import refuse_deploy_from_another_branch
from scripts.project.console import RunConsole, model_name
from scripts.project.internals import audits_shown_to, fork_no_processes
from scripts.project.prod import PROD, prod_snapshots, prod_versions
from scripts.project.published_schema import refuse_broken_promises
from scripts.project.restore import rebuild_lost_tables
from scripts.results import LAYERS, AuditOutcome, ModelOutcome, RunRecord, short_name
from scripts.settings import PROJECT_ROOT, Settings
from scripts.warehouse import Warehouse
from scripts.warehouse.duckdb import DuckDBWarehouse, not_opened
from scripts.warehouse.open import once_free, open_warehouse

Names = Collection[str]


class Project:
    """The SQLMesh project of this folder on one gateway."""

    def __init__(self, settings: Settings, console: Console) -> None:
        self._console = RunConsole(console)
        set_console(self._console)
        fork_no_processes()
        self._settings = settings
        self._state_adapter: EngineAdapter | None = None
        self.context = Context(paths=[str(PROJECT_ROOT)], gateway=settings.gateway, load=False)
        try:
            self._attach_state()
            self.context.load()
        except BaseException:
            self.close()
            raise

    @cached_property
    def warehouse(self) -> Warehouse:
        """The tables of the project's gateway; on DuckDB over SQLMesh's own connection, for a file takes only one."""
        if self._settings.gateway == "duckdb":
            return DuckDBWarehouse.beside(self.context.engine_adapter.connection)
        return open_warehouse(self._settings)

    @property
    def marts(self) -> tuple[Mart, ...]:
        """The exported marts as this folder declares them."""
        return exported_marts(self.context.models.values())

    @property
    def marts_of_prod(self) -> tuple[Mart, ...]:
        """The exported marts that prod has."""
        return exported_marts(snapshot.model for snapshot in prod_snapshots(self.context) if snapshot.is_model)

    def close(self) -> None:
        self.context.close()
        # A context that could not be loaded does not know of it.
        if self._state_adapter:
            self._state_adapter.close()

    def _attach_state(self) -> None:
        """Opens the DuckDB file that holds SQLMesh's state, or raises a duckdb.IOException.

        SQLMesh takes one that is in use for an empty one, and would go on in memory.
        """
        warehouse = self.context.connection_config
        state = self.context.config.get_state_connection(self.context.gateway) or warehouse
        if not isinstance(state, DuckDBConnectionConfig):
            return
        # SQLMesh does so, too, before it makes the adapter, and makes one adapter a file.
        state.concurrent_tasks = max(state.concurrent_tasks, warehouse.concurrent_tasks)
        self._state_adapter = state.create_engine_adapter()
        self._state_adapter.execute("SELECT 1")

    def judged(self, feed: Feed, rows: str) -> str:
        """The project's rules of validity as a query over other rows (a query, too) than those of `source`."""
        model = self.context.get_model(f"staging.judged_{feed.name}", raise_if_missing=True)
        # SQLMesh keeps what it has rendered.
        query = model.render_query_or_raise(start="1900-01-01", end="9999-01-01").copy()
        for table in list(query.find_all(exp.Table)):
            if table.name == f"src_{feed.name}":
                table.replace(exp.Subquery(this=parse_one(rows, dialect="duckdb"), alias=table.args["alias"]))
        return query.sql(dialect="duckdb")

    def is_planned(self) -> bool:
        """Whether prod holds the models exactly as they stand in this folder, and all of it has been put in place."""
        environment = self.context.state_sync.get_environment(PROD)
        return environment is not None and bool(environment.finalized_ts) and not self._differs_from_prod()

    def check_deploy(self, deploy: bool, breaking: bool) -> None:
        """Stops, with a DeployRefusedError, before anything is written where prod is not to be brought to the models of
        this folder: another branch's, or such as break a rule of the linter, a unit test, or what readers rely on."""
        if self.is_planned():
            return
        differs = self._differs_from_prod()
        if differs and not deploy:
            refuse_deploy_from_another_branch(self.context.path, self._settings.production_branches)
        self._refuse_lint_failures()
        if differs and not breaking:
            refuse_broken_promises(self.context)
        if differs:
            self._refuse_failing_tests()

    def _differs_from_prod(self) -> bool:
        """Whether there is a prod, of other models than stand in this folder."""
        prod = {version.snapshot_id for version in prod_versions(self.context)}
        return bool(prod) and prod != {snapshot.snapshot_id for snapshot in self.context.snapshots.values()}

    def _refuse_lint_failures(self) -> None:
        try:
            self.context.lint_models()
        except LinterError as error:
            breaches = "\n".join(f"    {breach}" for breach in self._console.failures)
            raise DeployRefusedError(
                f"The models of this folder break rules of the linter (config.py, linter/):\n{breaches}\n"
                "Nothing was written. Mend them and run again; `sqlmesh lint` shows the same."
            ) from error

    def _refuse_failing_tests(self) -> None:
        """Runs SQLMesh's unit tests of the models that a deploy changes."""
        prod = {version.snapshot_id for version in prod_versions(self.context)}
        changed = {one.name for one in self.context.snapshots.values() if one.is_model and one.snapshot_id not in prod}
        result = self.context.test(model_names=changed, stream=StringIO())
        failed = sorted(str(test) for test, _ in (*result.original_failures, *result.original_errors))
        if failed:
            lines = "\n".join(f"    {test}" for test in failed)
            raise DeployRefusedError(
                f"Unit tests of the changed models fail:\n{lines}\n"
                "Nothing was written. Mend the models or the tests and run again; `sqlmesh test` shows what differs."
            )

    def deploy(self, execution_time: datetime) -> None:
        """Brings prod to the models as they stand: evaluates and audits all up to `execution_time`, then switches.

        After a BlockingAuditError (a model or a blocking audit failed) prod shows the models that it showed before,
        with the new load in those that did not change and were evaluated by then.
        """
        self.prepare()
        try:
            self.context.plan(
                PROD,
                execution_time=execution_time,
                run=True,
                ignore_cron=True,
                no_prompts=True,
                auto_apply=True,
                no_diff=True,
                skip_tests=True,
            )
        except SQLMeshError as error:
            raise self._failure(reason(error.__cause__ or error)) from error

    def run(self, execution_time: datetime) -> None:
        """Runs every model for its window up to `execution_time` (exclusive), the hour under way included; where a
        model or a blocking audit fails (a BlockingAuditError), what reads it is not run."""
        self.prepare()
        try:
            status = self.context.run(PROD, execution_time=execution_time, ignore_cron=True)
        except SQLMeshError as error:
            raise self._failure(reason(error.__cause__ or error)) from error
        if status.is_failure:
            raise self._failure("The run failed.")

    def reopen(self, since: datetime | None = None) -> None:
        """Has the windows from `since` on (None: all) processed again, in every environment."""
        windows.reopen(self.context, since)

    def prepare(self) -> None:
        """Before prod goes on: nothing of a branch counts beyond it, and tables that are lost will be built again."""
        windows.reopen_unproven(self.context)
        rebuild_lost_tables(self.context, self.warehouse)

    def audit(
        self, record: RunRecord, start: datetime, end: datetime, models: Names = (), audits: Names = ()
    ) -> Iterator[list[AuditOutcome]]:
        """Audits prod's models for a window as their rows stand, without running them: all, or those that are named.

        Yields the outcomes of a model, which are in the record then. A PipelineError where there is no prod yet, or a
        model's rows can't be read; a WrongUsageError where there is no such model or audit.
        """
        snapshots = {snapshot.name: snapshot for snapshot in prod_snapshots(self.context)}
        if not snapshots:
            raise PipelineError("No model was run yet, so there is nothing to audit. Run `make run` first.")
        for snapshot in _chosen(snapshots.values(), models, audits):
            known = len(record.audits)
            try:
                with self.recorded(record):
                    self.context.snapshot_evaluator.audit(
                        snapshot, snapshots=snapshots, start=start, end=end, execution_time=end
                    )
            except Exception as error:  # the engines' errors have no class in common
                raise PipelineError(
                    f"{model_name(snapshot)} can't be audited: {reason(error)}\nWhere its table is lost, "
                    "`python -m scripts.pipeline run --full-refresh` rebuilds all of them from the landing zone."
                ) from error
            yield record.audits[known:]

    @contextmanager
    def recorded(self, record: RunRecord) -> Iterator[None]:
        """Puts what comes of every model and audit meanwhile into the record, passed audits too, also where it ends in
        failure."""
        outcomes: dict[tuple[str, str], AuditOutcome] = {}

        def take(snapshot: Snapshot, results: list[Any], dialect: str) -> None:
            for result in (one for one in results if not one.skipped):
                outcome = _outcome(snapshot, result, dialect)
                if earlier := outcomes.get((outcome.model, outcome.audit)):
                    # It ran for two windows; the query shown is that of a failure, if there is one.
                    failed_count, query = earlier.failed_count + outcome.failed_count, outcome.query or earlier.query
                    outcome = replace(outcome, failed_count=failed_count, query=query)
                outcomes[outcome.model, outcome.audit] = outcome

        try:
            with audits_shown_to(take):
                yield
        finally:
            record.audits.extend(outcomes.values())
            for model, seconds in self._console.seconds.items():
                rows = _count_rows(self.warehouse, model)
                record.models.append(ModelOutcome(model, model.split(".")[0], seconds, rows))
            self._console.seconds.clear()

    def _failure(self, fallback: str) -> BlockingAuditError:
        failures = self._console.failures or [fallback]
        said = "\n\n".join([*failures, self._what_stands(), "Mend the cause and run again."])
        return BlockingAuditError(said, quotes=self._console.quotes)

    def _what_stands(self) -> str:
        """Which of prod's tables this run has written before it failed, by layer."""
        here = {snapshot.name: snapshot.version for snapshot in self.context.snapshots.values()}
        # A deploy fills tables of changed models, too, which nobody sees before prod is switched.
        seen = {
            short_name(version.name)
            for version in prod_versions(self.context)
            if version.is_model and version.is_materialized and not version.is_seed
            if version.version == here.get(version.name)
        }
        refused = set(self._console.refused)
        return _new_load_stands_in(seen & (self._console.seconds.keys() | refused), refused)


def _new_load_stands_in(tables: Names, refused: Names) -> str:
    if not tables:
        return "No table of prod has the new load: all are as they were, exports and published tables, too."
    by_layer: dict[str, list[str]] = {layer: [] for layer in LAYERS}
    for table in sorted(tables):
        layer, name = table.split(".")
        note = " (with the rows that its audit failed on)" if table in refused else ""
        by_layer.setdefault(layer, []).append(name + note)
    return "\n".join(
        [
            "These tables, and the views of them, already have the new load:",
            *(f"    {layer:<14}{', '.join(names)}" for layer, names in by_layer.items() if names),
            "All other tables of prod are as they were, exports and published tables, too.",
        ]
    )


def _chosen(snapshots: Iterable[Snapshot], models: Names, audits: Names) -> list[Snapshot]:
    """The snapshots that have audits, in the order of the layers: all of them with all audits, or those that are named;
    a WrongUsageError where there is no such model, or no such audit of these models."""
    by_model = {model_name(snapshot): snapshot for snapshot in snapshots if _audit_names(snapshot)}
    _check_known(models, by_model, "model with audits")
    wanted = sorted(models or by_model, key=lambda name: (LAYERS.index(name.split(".")[0]), name))
    of_models = [by_model[name] for name in dict.fromkeys(wanted)]
    if not audits:
        return of_models
    where = f"audit of {', '.join(wanted)}" if models else "audit"
    _check_known(audits, {name for snapshot in of_models for name in _audit_names(snapshot)}, where)
    return [_narrowed(snapshot, audits) for snapshot in of_models if _audit_names(snapshot) & set(audits)]


def _audit_names(snapshot: Snapshot) -> set[str]:
    """The kinds of audits that a model has: `not_null`, `scd2_no_overlap`."""
    return {audit.name for audit, _ in snapshot.node.audits_with_args} if snapshot.is_model else set()


def _narrowed(snapshot: Snapshot, audits: Names) -> Snapshot:
    """The snapshot with these audits only: SQLMesh runs all audits of the one that it is given."""
    model = snapshot.model
    narrowed = {
        "audits": [(name, arguments) for name, arguments in model.audits if name in audits],
        "audit_definitions": {name: audit for name, audit in model.audit_definitions.items() if name in audits},
    }
    return snapshot.copy(update={"node": model.copy(update=narrowed)})


def _check_known(names: Names, known: Iterable[str], what: str) -> None:
    known = sorted(known)
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=3)
            hint = f"Is it {' or '.join(close)}?" if close else f"There are {', '.join(known)}."
            raise WrongUsageError(f"There is no {what} named '{name}'. {hint}")


def _count_rows(warehouse: Warehouse, model: str) -> int | None:
    """Rows of a model; None where it has no table yet, as after a failed first run."""
    try:
        return int(warehouse.fetch(f"SELECT COUNT(*) FROM {model}")[0][0])
    except (duckdb.Error, PipelineError):
        return None


def _outcome(snapshot: Snapshot, result: Any, dialect: str) -> AuditOutcome:
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
        query=result.query.sql(dialect=dialect, pretty=True) if result.count and result.query is not None else "",
    )


def open_project(settings: Settings, console: Console) -> Project:
    """Loads the project, once no other process has its database file open; a DatabaseInUseError where one has it still
    after LOCK_TIMEOUT, else a PipelineError where the project or the file can't be read."""
    return once_free(lambda: _load_project(settings, console), settings.lock_timeout, console)


def _load_project(settings: Settings, console: Console) -> Project:
    try:
        return Project(settings, console)
    except duckdb.IOException as error:
        raise not_opened(settings.sqlmesh_file, error) from error
    except SQLMeshError as error:
        place = getattr(error, "location", None)
        where = f"{place.name}: " if place and place.name not in str(error) else ""
        raise _not_loaded(where + reason(error)) from error
    except YAMLError as error:
        raise _not_loaded(f"{_file_that_is_no_yaml()}: {reason(error)}") from error
    except Exception as error:  # the project's own Python may raise anything
        raise _not_loaded(f"{type(error).__name__}: {reason(error)}") from error


def _file_that_is_no_yaml() -> str:
    """The project's file that can't be read as YAML: the parser's message names a line, and not whose."""
    for path in sorted(PROJECT_ROOT.glob("*.yaml")) + sorted(PROJECT_ROOT.glob("tests/models/*.yaml")):
        try:
            yaml.load(path, raise_if_empty=False)
        except YAMLError:
            return str(path.relative_to(PROJECT_ROOT))
    return "YAML"


def _not_loaded(said: str) -> PipelineError:
    """Why the project could not be loaded: in SQLMesh's own words, but for its advice on versions, which are pinned."""
    for sign, version, remedy in (
        ("which is ahead of", "an older", "Bring it up to date with `sqlmesh migrate`, then run again."),
        ("which is behind", "a newer", "Bring this folder up to date (`git pull`, `make setup`) and run again."),
    ):
        if sign in said:
            versions = said.partition(" Please ")[0]
            return PipelineError(f"SQLMesh's state was written by {version} version: {versions}", remedy)
    return PipelineError(f"The SQLMesh project can't be loaded: {said}")
