"""Where this project changes what SQLMesh does from within: all such places.

`tests/unit/test_sqlmesh_internals.py` says in plain words what breaks when SQLMesh changes what is relied on here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlmesh.core import constants
from sqlmesh.core.engine_adapter.base import EngineAdapter
from sqlmesh.core.model import Model
from sqlmesh.core.plan.builder import PlanBuilder
from sqlmesh.core.snapshot import Snapshot, SnapshotChangeCategory, SnapshotEvaluator, SnapshotId, evaluator
from sqlmesh.core.snapshot.cache import SnapshotCache
from sqlmesh.core.snapshot.evaluator import EvaluationStrategy
from sqlmesh.utils.dag import DAG

_choose_by_kind = evaluator._evaluation_strategy
_categorize_snapshot = PlanBuilder._categorize_snapshot
_get_or_load = SnapshotCache.get_or_load
_strategies: dict[str, tuple[type[EvaluationStrategy], Callable[[Model], bool]]] = {}


def use_strategy(strategy: type[EvaluationStrategy], serves: Callable[[Model], bool]) -> None:
    """Has the models for which `serves` holds kept by a strategy of ours; all others by that of their kind.

    SQLMesh has custom kinds for that, but takes none of them for incremental, nor restates it from its beginning.
    It imports `materializations/` with every Context anew: of the classes of one name the last one counts.
    """
    _strategies[strategy.__name__] = strategy, serves
    evaluator._evaluation_strategy = _choose_by_model


def use_sqlmeshs_own_strategies() -> None:
    """Undoes `use_strategy`, for all of ours."""
    _strategies.clear()
    evaluator._evaluation_strategy = _choose_by_kind


def _choose_by_model(snapshot: Any, adapter: EngineAdapter) -> EvaluationStrategy:
    # To drop a table SQLMesh hands over what it knows of the snapshot without its model.
    if isinstance(snapshot, Snapshot) and snapshot.is_model:
        for strategy, serves in _strategies.values():
            if serves(snapshot.model):
                return strategy(adapter)
    return _choose_by_kind(snapshot, adapter)


def fork_no_processes() -> None:
    """SQLMesh would read and render models in forked processes: a fork may hang where threads run, as DuckDB's do.

    For the rest of the process: plans and runs fork, too, and a Project may outlive another one.
    """
    constants.MAX_FORK_WORKERS = 1


def read_snapshots_from_the_state() -> None:
    """Has SQLMesh read which table belongs to a model from the state that it works with, and from nowhere else.

    `.cache` keeps snapshots by the name and the words of their models, whoever's state they are of. A second database
    of one folder, or one that was started over, would read and write by the other's: tables that it lacks, or that hold
    the rows of another version. Reading them anew takes no longer. For the rest of the process, as with
    `fork_no_processes`.
    """
    SnapshotCache.get_or_load = _load_from_the_state  # type: ignore[method-assign, assignment]


def _load_from_the_state(cache: SnapshotCache, snapshot_ids: Any, loader: Any) -> Any:
    cache._snapshot_cache.get = lambda *_: None  # type: ignore[method-assign]
    return _get_or_load(cache, snapshot_ids, loader)


def rebuild_behind_known_versions() -> None:
    """Has a plan build a model anew whenever rows that it reads, however far up, are those of another version.

    SQLMesh looks at the parents that the plan itself makes, no further. Where one of them changed in words alone, and
    another went back to a version of before, the model would keep the table made of the version in between.

    And of a branch a plan builds anew what stands behind a change that breaks nothing: SQLMesh would fill a table of
    its own with the rows of the next windows (a preview), and show the one of before, without them. For the rest of the
    process, as with `fork_no_processes`.
    """
    PlanBuilder._categorize_snapshot = _categorize_by_all_upstream  # type: ignore[method-assign, assignment]


def _categorize_by_all_upstream(
    builder: PlanBuilder,
    snapshot: Snapshot,
    forward_only: bool,
    dag: DAG[SnapshotId],
    indirectly_modified: dict[SnapshotId, set[SnapshotId]],
) -> None:
    _categorize_snapshot(builder, snapshot, forward_only, dag, indirectly_modified)
    is_behind_a_column = snapshot.change_category is SnapshotChangeCategory.INDIRECT_NON_BREAKING
    keeps_its_table = is_behind_a_column or snapshot.change_category is SnapshotChangeCategory.METADATA
    if (builder._is_dev and is_behind_a_column) or (
        keeps_its_table and any(_has_other_rows(builder, parent) for parent in dag.upstream(snapshot.snapshot_id))
    ):
        snapshot.categorize_as(SnapshotChangeCategory.INDIRECT_BREAKING, forward_only)


def _has_other_rows(builder: PlanBuilder, snapshot_id: SnapshotId) -> bool:
    """Whether a model is to show rows that its readers' tables were not made of."""
    new, old = builder._context_diff.modified_snapshots.get(snapshot_id.name, (None, None))
    if new is None or old is None:
        return False
    if builder._is_new_snapshot(new):
        return new.change_category in (SnapshotChangeCategory.BREAKING, SnapshotChangeCategory.INDIRECT_BREAKING)
    return new.version != old.version


@contextmanager
def audits_shown_to(observe: Callable[[Snapshot, list[Any], str], None]) -> Iterator[None]:
    """Calls `observe` with a snapshot, the results of its audits and the engine's dialect whenever SQLMesh audits.

    SQLMesh hands passed audits to nobody: consoles see counts, notification targets see failures. A run works on copies
    of the Context's evaluator, so it is the class whose method is replaced.
    """
    original = SnapshotEvaluator.audit

    def audit(evaluator: SnapshotEvaluator, snapshot: Snapshot, **kwargs: Any) -> Any:
        # Without an adapter the model's declared types serve; with one, SQLMesh asks the warehouse for the table's
        # columns before every audit, which on Databricks takes as long as many an audit.
        results = original(evaluator, snapshot, engine_adapter=None, **kwargs)
        observe(snapshot, results, evaluator.adapter.dialect)
        return results

    SnapshotEvaluator.audit = audit  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        SnapshotEvaluator.audit = original  # type: ignore[method-assign]
