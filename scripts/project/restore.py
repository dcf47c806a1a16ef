"""What prod should show and does not any more is made again: views, tables, schemas that somebody dropped.

SQLMesh trusts its state: a plan that changes nothing looks at no table and at no view.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlglot import exp
from sqlmesh import Context
from sqlmesh.core.snapshot import DeployabilityIndex, Snapshot, SnapshotTableInfo
from sqlmesh.core.snapshot.definition import to_view_mapping

from scripts.project import windows
from scripts.project.prod import PROD, prod_snapshots, prod_versions
from scripts.warehouse import Warehouse


def rebuild_lost_tables(context: Context, warehouse: Warehouse) -> None:
    """Has the next run fill the tables of prod that are not there any more, from their first window on."""
    gone = _lost(warehouse, [(version, exp.to_table(version.table_name())) for version in _stored_models(context)])
    if not gone:
        return
    lost = _snapshots_of(gone, prod_snapshots(context))
    evaluator = context.snapshot_evaluator
    evaluator.create_physical_schemas(lost, DeployabilityIndex.all_deployable())
    # A seed's rows are in this folder, not in the state, so no run could fill it.
    local = {snapshot.snapshot_id: snapshot for snapshot in context.snapshots.values()}
    evaluator.create([local[s.snapshot_id] for s in lost if s.is_seed and s.snapshot_id in local], local)
    windows.reopen_all_of(context, {snapshot.name for snapshot in lost if not snapshot.is_seed})


def restore_views(context: Context, warehouse: Warehouse) -> list[str]:
    """Makes prod's views again that are not there any more; returns their names."""
    environment = context.state_sync.get_environment(PROD)
    if environment is None:
        return []
    naming = environment.naming_info
    views = [
        (version, exp.to_table(version.qualified_view_name.for_environment(naming)))
        for version in _stored_models(context)
    ]
    lost = _lost(warehouse, views)
    if lost:
        snapshots = {snapshot.snapshot_id: snapshot for snapshot in prod_snapshots(context)}
        context.snapshot_evaluator.promote(
            _snapshots_of(lost, snapshots.values()),
            environment_naming_info=naming,
            snapshots=snapshots,
            table_mapping=to_view_mapping(
                snapshots.values(), naming, context.default_catalog, context.engine_adapter.dialect
            ),
        )
    return sorted(f"{view.db}.{view.name}" for version, view in views if version in lost)


def _stored_models(context: Context) -> list[SnapshotTableInfo]:
    """The models of prod that have a table and a view."""
    return [version for version in prod_versions(context) if version.is_model and not version.is_symbolic]


def _snapshots_of(versions: Iterable[SnapshotTableInfo], snapshots: Iterable[Snapshot]) -> list[Snapshot]:
    ids = {version.snapshot_id for version in versions}
    return [snapshot for snapshot in snapshots if snapshot.snapshot_id in ids]


def _lost(warehouse: Warehouse, places: list[tuple[SnapshotTableInfo, exp.Table]]) -> list[SnapshotTableInfo]:
    """Those of which the table or view does not exist."""
    if not places:
        return []
    stored = warehouse.objects({table.db.lower() for _, table in places})
    present = {(one.schema, one.name) for one in stored}
    return [version for version, table in places if (table.db.lower(), table.name.lower()) not in present]
