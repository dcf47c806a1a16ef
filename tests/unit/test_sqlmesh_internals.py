"""What this project relies on inside SQLMesh, beyond what is documented: each fails in plain words where it changes.

SQLMesh's version is pinned. Raise it only with these green; a message says what of ours rests on it and where to look.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from sqlglot import exp, parse_one
from sqlmesh import Context
from sqlmesh.cli.main import plan as plan_command
from sqlmesh.core import loader
from sqlmesh.core.config import DuckDBConnectionConfig
from sqlmesh.core.console import Console, NoopConsole
from sqlmesh.core.dialect import parse
from sqlmesh.core.engine_adapter import create_engine_adapter
from sqlmesh.core.engine_adapter.base import MERGE_SOURCE_ALIAS, EngineAdapter
from sqlmesh.core.environment import Environment
from sqlmesh.core.model import Model, ModelKindName, load_sql_based_model
from sqlmesh.core.model import cache as model_cache
from sqlmesh.core.model.definition import AuditResult
from sqlmesh.core.plan.builder import PlanBuilder
from sqlmesh.core.snapshot import Snapshot, SnapshotEvaluator, evaluator
from sqlmesh.core.snapshot.cache import SnapshotCache
from sqlmesh.core.snapshot.definition import to_view_mapping
from sqlmesh.core.snapshot.evaluator import EvaluationStrategy
from sqlmesh.core.state_sync import StateSync
from sqlmesh.core.state_sync.base import StateReader
from sqlmesh.utils.concurrency import NodeExecutionFailedError
from sqlmesh.utils.errors import AuditError

from materializations import merge_with_removals, scd_type_2
from scripts.project import internals as sqlmesh_internals
from scripts.project.console import RunConsole

ROOT = Path(__file__).resolve().parents[2]
OURS = {
    "snapshots.snap_customer": "ChangeOnlySCDType2Strategy",
    "snapshots.snap_account": "ChangeOnlySCDType2Strategy",
    "marts.account_summary": "MergeWithRemovalsStrategy",
    "marts.customer_profile": "MergeWithRemovalsStrategy",
}


def open_context(folder: Path) -> Context:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATABASE_TYPE", "duckdb")
        patch.setenv("DUCKDB_PATH", str(folder / "empty.duckdb"))
        return Context(paths=str(ROOT))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Context]:
    """The second of two Contexts on the project, with an empty database behind it; ours are in place by these alone."""
    sqlmesh_internals.use_sqlmeshs_own_strategies()
    open_context(tmp_path_factory.mktemp("before")).close()
    context = open_context(tmp_path_factory.mktemp("project"))
    yield context
    context.close()


def strategy_of(project: Context, model: str) -> EvaluationStrategy:
    snapshot = project.get_snapshot(model, raise_if_missing=True)
    return evaluator._evaluation_strategy(snapshot, project.engine_adapter)


def model_of(kind: str, columns: str = "1 AS k, NOW() AS seen_at") -> Model:
    return load_sql_based_model(parse(f"MODEL (name a.b, kind {kind}); SELECT {columns}", default_dialect="duckdb"))


# ------------------------------------------------------------------------------------------------------- strategies


class TestStrategies:
    """`sqlmesh.core.snapshot.evaluator` picks a strategy by a function of its module: ours stands before it."""

    @pytest.mark.parametrize("caller", ["_evaluate_snapshot", "_render_and_insert_snapshot", "_execute_create"])
    def test_sqlmesh_asks_for_a_strategy_where_ours_answers(self, caller: str) -> None:
        assert "_evaluation_strategy" in getattr(SnapshotEvaluator, caller).__code__.co_names, (
            f"SnapshotEvaluator.{caller} no longer looks up evaluator._evaluation_strategy by name, so "
            "sqlmesh_internals.use_strategy has no effect there: find out how SQLMesh chooses a strategy now. Else "
            "history is rewritten at every run, NULLs are filled from later versions, removals are dated by the run, "
            "and marts keep what no longer belongs."
        )

    def test_the_models_that_ask_for_ours_are_kept_by_it_and_no_others(self, project: Context) -> None:
        found = {
            model.name: type(strategy_of(project, model.name)).__name__
            for model in project.models.values()
            if not model.kind.is_external
        }
        assert {name: strategy for name, strategy in found.items() if strategy in OURS.values()} == OURS, (
            "SQLMesh no longer imports all modules of materializations/ with a Context, or ours serve others "
            "than the models that ask for them."
        )

    def test_ours_do_not_pile_up_with_every_context(self, project: Context) -> None:
        for name, own in OURS.items():
            names = [cls.__name__ for cls in inspect.getmro(type(strategy_of(project, name)))]
            assert names.count(own) == 1, f"{name}: a strategy of ours stands on another one of ours: {names}"
        assert len(sqlmesh_internals._strategies) == 2, "one of each name, whatever number of Contexts there were"

    def test_a_history_that_tells_no_removals_is_left_to_sqlmesh(self) -> None:
        kind = "SCD_TYPE_2_BY_COLUMN (unique_key k, columns [v], updated_at_name seen_at)"
        assert not scd_type_2.tells_removals(model_of(kind, "1 AS k, 2 AS v, NOW() AS seen_at"))
        assert scd_type_2.tells_removals(model_of(kind, "1 AS k, 2 AS v, NOW() AS seen_at, FALSE AS is_deleted_flag"))

    @pytest.mark.parametrize(
        ("when_matched", "is_ours"),
        [
            ("", False),
            (", when_matched (WHEN MATCHED THEN UPDATE SET target.k = source.k)", False),
            (", when_matched (WHEN MATCHED AND source.k = 0 THEN DELETE WHEN MATCHED THEN DELETE)", False),
            (", when_matched (WHEN MATCHED AND target.k = 0 THEN DELETE)", False),
            (", when_matched (WHEN MATCHED AND source.k = 0 THEN DELETE)", True),
            (", when_matched (WHEN MATCHED AND source.k = 0 THEN DELETE), merge_filter target.k > 0", False),
        ],
    )
    def test_a_merge_that_names_no_removals_is_left_to_sqlmesh(self, when_matched: str, is_ours: bool) -> None:
        model = model_of(f"INCREMENTAL_BY_UNIQUE_KEY (unique_key k{when_matched})")
        assert merge_with_removals.names_removals(model) is is_ours

    def test_they_can_be_taken_out_again(self, project: Context) -> None:
        ours = dict(sqlmesh_internals._strategies)
        sqlmesh_internals.use_sqlmeshs_own_strategies()
        try:
            for name in OURS:
                assert type(strategy_of(project, name)).__module__ == "sqlmesh.core.snapshot.evaluator"
            assert evaluator._evaluation_strategy.__module__ == "sqlmesh.core.snapshot.evaluator"
        finally:
            for strategy, serves in ours.values():
                sqlmesh_internals.use_strategy(strategy, serves)

    def test_a_condition_on_source_reaches_the_merge_under_the_name_that_sqlmesh_gives_it(self) -> None:
        model = model_of(
            "INCREMENTAL_BY_UNIQUE_KEY (unique_key k, when_matched (WHEN MATCHED AND source.k = 0 THEN DELETE))"
        )
        assert model.when_matched
        (when,) = model.when_matched.expressions
        assert when.args["condition"].find(exp.Column).table == MERGE_SOURCE_ALIAS, (
            "SQLMesh keeps `source.` of when_matched under another name than MERGE_SOURCE_ALIAS: "
            "materializations/merge_with_removals.py names its sub-query so. Bring the two together."
        )

    def test_custom_kinds_still_fall_short(self) -> None:
        custom = ModelKindName.CUSTOM
        assert (custom.is_incremental, custom.full_history_restatement_only) == (False, False), (
            "SQLMesh takes custom kinds for incremental now, or restates them from their beginning: see whether the "
            "marts can have one in place of sqlmesh_internals.use_strategy."
        )


class TestCategories:
    """Whether a changed model is built anew: SQLMesh decides by the parents that change with it, ours by all above."""

    def test_a_plan_asks_where_ours_answers(self, project: Context) -> None:
        assert "_categorize_snapshot" in PlanBuilder._categorize_snapshots.__code__.co_names, (
            "PlanBuilder no longer decides model by model, so sqlmesh_internals.rebuild_behind_known_versions has no "
            "effect: find out how it decides now. Else a rule that is taken back together with changed words leaves "
            "history as the rule had it."
        )
        assert PlanBuilder._categorize_snapshot is sqlmesh_internals._categorize_by_all_upstream, (
            "SQLMesh no longer imports all modules of materializations/ with a Context."
        )
        assert list(inspect.signature(sqlmesh_internals._categorize_snapshot).parameters) == [
            *("self", "snapshot", "forward_only", "dag", "indirectly_modified")
        ]
        assert "_is_dev" in PlanBuilder.__init__.__code__.co_names, "PlanBuilder no longer tells plans of branches."


class TestVersions:
    """Which table belongs to a model: SQLMesh asks `.cache` first, ours the state."""

    def test_sqlmesh_reads_snapshots_where_ours_stands_before_the_cache(self, project: Context) -> None:
        assert SnapshotCache.get_or_load is sqlmesh_internals._load_from_the_state, (
            "SQLMesh no longer imports all modules of materializations/ with a Context."
        )
        assert list(inspect.signature(sqlmesh_internals._get_or_load).parameters) == ["self", "snapshot_ids", "loader"]
        assert "_snapshot_cache" in sqlmesh_internals._get_or_load.__code__.co_names, (
            "SnapshotCache no longer keeps its files in _snapshot_cache, so sqlmesh_internals."
            "read_snapshots_from_the_state has no effect: find out where it keeps them. Else a second "
            "database of one folder works with the tables of the first."
        )


THING = """
MODEL (
  name a.b,
  kind {kind},
  clustered_by k,
  description 'Of a thing',
  physical_properties (owner_name = 'me')
);
SELECT k::INT AS k /* Key */, v::INT AS v /* Value */, is_deleted_flag::BOOLEAN, seen_at::TIMESTAMP
FROM incoming
"""
PAIRS = [
    pytest.param(
        scd_type_2.ChangeOnlySCDType2Strategy,
        evaluator.SCDType2Strategy,
        "SCD_TYPE_2_BY_COLUMN (unique_key k, columns [v], updated_at_name seen_at)",
        id="history",
    ),
    pytest.param(
        merge_with_removals.MergeWithRemovalsStrategy,
        evaluator.IncrementalByUniqueKeyStrategy,
        "INCREMENTAL_BY_UNIQUE_KEY (unique_key k, when_matched (WHEN MATCHED AND source.v IS NULL THEN DELETE))",
        id="mart",
    ),
]


@pytest.mark.parametrize(("own", "sqlmeshs", "kind"), PAIRS)
def test_a_first_insert_hands_over_what_that_of_sqlmesh_does(
    own: type[Any], sqlmeshs: type[Any], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_sql_based_model(parse(THING.format(kind=kind), default_dialect="duckdb"))
    handed: dict[type[Any], list[Any]] = {own: [], sqlmeshs: []}
    for strategy, said in handed.items():
        adapter = create_engine_adapter(duckdb.connect, "duckdb")
        adapter.execute("CREATE TABLE incoming (k INT, v INT, is_deleted_flag BOOLEAN, seen_at TIMESTAMP)")
        adapter.execute(
            "CREATE TABLE stored (k INT, v INT, is_deleted_flag BOOLEAN, seen_at TIMESTAMP"
            + (", valid_from TIMESTAMP, valid_to TIMESTAMP)" if model.kind.is_scd_type_2 else ")")
        )
        replace = adapter.replace_query

        def replaced(name: Any, query: Any, *args: Any, **kwargs: Any) -> None:
            said.append(kwargs)  # noqa: B023 - called before the next strategy's turn
            replace(name, query, *args, **kwargs)  # noqa: B023

        with monkeypatch.context() as patch:
            patch.setattr(adapter, "replace_query", replaced)
            patch.setattr(strategy, "_apply_grants", lambda _, *granted: said.append(granted[1:]))  # noqa: B023
            strategy(adapter).insert(
                "stored",
                parse_one("SELECT * FROM incoming", dialect="duckdb"),
                model,
                is_first_insert=True,
                render_kwargs={},
                execution_time="2024-01-15",
                physical_properties={"rendered": exp.Literal.string("yes")},
                is_snapshot_deployable=True,
            )
        adapter.close()
    (own_call, own_grants), (their_call, their_grants) = handed[own], handed[sqlmeshs]
    assert own_grants == their_grants
    assert their_call == {name: own_call.get(name, "not handed over") for name in their_call}, (
        f"SQLMesh's {sqlmeshs.__name__} hands something to the engine that {own.__name__} of materializations/ does not"
    )


# -------------------------------------------------------------------------------------------------------- signatures

STRATEGY = "materializations/: compare with SQLMesh's class and bring our strategies in line"
WINDOWS = "scripts/project/windows.py: else loads are missed, or windows that are not proven stay on record"
RESTORE = "scripts/project/restore.py: else dropped views and tables are not made again"
RUN = "scripts/project/transform.py: else prod is not deployed whole, or the hour under way is not run"
USED: list[tuple[Callable[..., Any], list[str], str]] = [
    (evaluator._evaluation_strategy, ["snapshot", "adapter"], "scripts/project/internals.py: the choice of strategy"),
    *(
        (getattr(strategy, method), parameters, STRATEGY)
        for strategy in (evaluator.SCDType2Strategy, evaluator.IncrementalByUniqueKeyStrategy)
        for method, parameters in {
            "insert": ["self", "table_name", "query_or_df", "model", "is_first_insert", "render_kwargs", "kwargs"],
            "append": ["self", "table_name", "query_or_df", "model", "render_kwargs", "kwargs"],
            "_replace_query_for_model": ["self", "model", "name", "query_or_df", "render_kwargs", "kwargs"],
            "_get_target_and_source_columns": [
                "self",
                "model",
                "table_name",
                "render_kwargs",
                "force_get_columns_from_target",
            ],
            "_apply_grants": ["self", "model", "table_name", "target_layer", "is_snapshot_deployable"],
        }.items()
    ),
    (EngineAdapter.execute, ["self", "expressions", "track_rows_processed"], STRATEGY),
    (
        SnapshotEvaluator.audit,
        ["self", "snapshot", "snapshots", "start", "end", "execution_time", "kwargs"],
        "sqlmesh_internals.audits_shown_to: else reports lack the audits that passed",
    ),
    (StateSync.remove_intervals, ["self", "snapshot_intervals", "remove_shared_versions"], WINDOWS),
    (StateSync.add_interval, ["self", "snapshot", "start", "end"], WINDOWS),
    (StateReader.get_snapshots, ["self", "snapshot_ids"], WINDOWS),
    (StateReader.get_snapshots_by_names, ["self", "snapshot_names", "exclude_expired"], WINDOWS),
    (StateReader.get_environment, ["self", "environment"], WINDOWS),
    (StateReader.get_environments, ["self"], WINDOWS),
    (SnapshotEvaluator.create_physical_schemas, ["self", "snapshots", "deployability_index"], RESTORE),
    (SnapshotEvaluator.create, ["self", "target_snapshots", "snapshots"], RESTORE),
    (
        SnapshotEvaluator.promote,
        ["self", "target_snapshots", "environment_naming_info", "snapshots", "table_mapping"],
        RESTORE,
    ),
    (to_view_mapping, ["snapshots", "environment_naming_info", "default_catalog", "dialect"], RESTORE),
    (Context.plan, ["environment", "execution_time", "run", "ignore_cron", "no_prompts", "auto_apply", "no_diff"], RUN),
    (Context.run, ["environment", "execution_time", "ignore_cron"], RUN),
]


@pytest.mark.parametrize(("used", "parameters", "serves"), USED, ids=[used.__qualname__ for used, *_ in USED])
def test_sqlmesh_takes_what_we_hand_over(used: Callable[..., Any], parameters: list[str], serves: str) -> None:
    found = list(inspect.signature(used).parameters)
    missing = [name for name in parameters if name not in found]
    assert not missing, (
        f"SQLMesh's {used.__qualname__} no longer takes {', '.join(missing)} (it takes {found}). {serves}."
    )


def test_an_audits_result_says_what_reports_show() -> None:
    missing = {"audit", "audit_args", "blocking", "count", "query", "skipped"} - set(AuditResult.all_fields())
    assert not missing, f"SQLMesh's AuditResult lacks {sorted(missing)}: scripts/project/transform.py reads them."


def test_a_snapshot_keeps_what_windows_are_judged_by() -> None:
    names = ("intervals", "last_altered_ts", "name_version", "identifier", "evaluatable", "is_materialized", "is_seed")
    missing = [name for name in names if name not in Snapshot.all_fields() and not hasattr(Snapshot, name)]
    assert not missing, f"SQLMesh's Snapshot has no {', '.join(missing)}. {WINDOWS}."


def test_an_environment_says_whether_its_plan_was_finished() -> None:
    assert "finalized_ts" in Environment.all_fields(), (
        "SQLMesh's Environment has no finalized_ts: Project.is_planned (scripts/project/) sees by it that a "
        "killed plan has to be finished."
    )


# ---------------------------------------------------------------------------------------------------------- consoles


@pytest.mark.parametrize("method", [name for name in vars(RunConsole) if hasattr(Console, name) and name[0] != "_"])
def test_the_console_is_called_as_ours_is_written(method: str) -> None:
    parameters = inspect.signature(getattr(RunConsole, method)).parameters.values()
    ours = [one.name for one in parameters if one.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    theirs = list(inspect.signature(getattr(NoopConsole, method)).parameters)
    assert ours == theirs[: len(ours)], (
        f"SQLMesh's Console.{method} takes {theirs}; RunConsole of scripts/project/console.py was written for {ours}. "
        "Else a run prints no line per model, or the failed audit is missing from its message."
    )


def test_only_methods_that_sqlmesh_calls_are_ours() -> None:
    own = {name for name, value in vars(RunConsole).items() if inspect.isfunction(value) and name[0] != "_"}
    gone = sorted(name for name in own if not hasattr(Console, name))
    assert not gone, f"SQLMesh's Console no longer has {gone}: find what it calls in their place."


def test_a_failed_audit_names_itself_its_rows_and_its_query() -> None:
    given = inspect.signature(AuditError).parameters
    missing = [name for name in ("audit_name", "count", "sql") if name not in given and not hasattr(AuditError, name)]
    assert not missing, f"SQLMesh's AuditError has no {missing}: the message of exit 5 quotes them."
    assert NodeExecutionFailedError(("model", 1)).node == ("model", 1), "the message of exit 5 names the failed model"


@pytest.mark.parametrize(
    ("module", "words", "serves"),
    [
        ("sqlmesh.core.state_sync.base", "which is ahead of", "the advice to migrate an older state (_not_loaded)"),
        ("sqlmesh.core.state_sync.base", "which is behind", "the advice to update the folder (_not_loaded)"),
        ("sqlmesh.core.console", "audit error", "RunConsole.log_warning leaves out what the report holds"),
        ("sqlmesh.core.context", "Skipping the backfill", "RunConsole.log_warning spares a plan without backfill"),
    ],
)
def test_sqlmesh_still_says(module: str, words: str, serves: str) -> None:
    source = inspect.getsource(__import__(module, fromlist=["_"]))
    assert words in source, f"{module} no longer says '{words}': {serves} looks for it. Find the new words."


# ------------------------------------------------------------------------------------------- loading, state, planning


@pytest.mark.parametrize(
    "forking",
    [loader.SqlMeshLoader._load_sql_models, model_cache.optimized_query_cache_pool],
    ids=["loader", "rendering"],
)
def test_sqlmesh_forks_as_many_processes_as_the_constant_says(forking: Callable[..., Any]) -> None:
    assert "MAX_FORK_WORKERS" in forking.__code__.co_names, (
        f"SQLMesh's {forking.__qualname__} no longer reads constants.MAX_FORK_WORKERS, so that "
        "sqlmesh_internals.fork_no_processes has no effect: a fork may hang where DuckDB's threads run."
    )


def test_audits_are_watched_only_as_long_as_somebody_wants_to_know() -> None:
    before = SnapshotEvaluator.audit
    with sqlmesh_internals.audits_shown_to(lambda *_: None):
        assert SnapshotEvaluator.audit is not before
    assert SnapshotEvaluator.audit is before


def test_a_database_file_has_one_adapter(tmp_path: Path) -> None:
    config = DuckDBConnectionConfig(database=str(tmp_path / "state.duckdb"))
    adapter = config.create_engine_adapter()
    try:
        assert config.create_engine_adapter() is adapter, (
            "SQLMesh makes another adapter for an open file: Project._attach_state (scripts/project/) opens "
            "the state before SQLMesh does, which would take a file in use for an empty one; now both open it."
        )
    finally:
        adapter.close()


def test_the_plan_command_has_the_options_of_make_plan() -> None:
    options = {option for parameter in plan_command.params for option in parameter.opts}
    missing = {"--run", "--ignore-cron", "--execution-time"} - options
    assert not missing, f"`sqlmesh plan` has no {sorted(missing)}: scripts/project/plan.py hands them over."
