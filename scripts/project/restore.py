"""What prod should show and does not any more is made again: views, tables, schemas that somebody dropped.

SQLMesh trusts its state: a plan that changes nothing looks at no table and at no view.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlglot import exp
from sqlmesh import Context
from sqlmesh.core.snapshot import DeployabilityIndex, SnapshotId, SnapshotTableInfo
from sqlmesh.core.snapshot.definition import to_view_mapping

from scripts.project import windows
from scripts.project.prod import PROD, prod_versions
from scripts.warehouse import Warehouse


def rebuild_lost_tables(context: Context, warehouse: Warehouse) -> None:
    """Has the next run fill the tables of prod that are not there any more, from their first window on."""
    tables = {version.snapshot_id: exp.to_table(version.table_name()) for version in _stored_models(context)}
    gone = _lost(warehouse, tables)
    if not gone:
        return
    lost = context.state_sync.get_snapshots(gone).values()
    evaluator = context.snapshot_evaluator
    evaluator.create_physical_schemas(lost, DeployabilityIndex.all_deployable())
    # A seed's rows are in this folder, not in the state, so no run could fill it.
    local = {snapshot.snapshot_id: snapshot for snapshot in context.snapshots.values()}
    evaluator.create([local[s.snapshot_id] for s in lost if s.is_seed and s.snapshot_id in local], local)
    windows.reopen(context, models={snapshot.name for snapshot in lost if not snapshot.is_seed})


def restore_views(context: Context, warehouse: Warehouse) -> list[str]:
    """Makes prod's views again that are not there any more; returns their names."""
    environment = context.state_sync.get_environment(PROD)
    if environment is None:
        return []
    naming = environment.naming_info
    views = {
        version.snapshot_id: exp.to_table(version.qualified_view_name.for_environment(naming))
        for version in _stored_models(context)
    }
    lost = _lost(warehouse, views)
    if lost:
        snapshots = context.state_sync.get_snapshots(environment.snapshots)
        dialect = context.engine_adapter.dialect
        context.snapshot_evaluator.promote(
            [snapshots[snapshot_id] for snapshot_id in lost],
            environment_naming_info=naming,
            snapshots=snapshots,
            table_mapping=to_view_mapping(snapshots.values(), naming, context.default_catalog, dialect),
        )
    return sorted(f"{views[snapshot_id].db}.{views[snapshot_id].name}" for snapshot_id in lost)


def _stored_models(context: Context) -> list[SnapshotTableInfo]:
    """The models of prod that have a table and a view."""
    return [version for version in prod_versions(context) if version.is_model and not version.is_symbolic]


def _lost(warehouse: Warehouse, places: Mapping[SnapshotId, exp.Table]) -> list[SnapshotId]:
    """Those of which the table or view does not exist."""
    schemas = {table.db.lower() for table in places.values()}
    present = {(one.schema, one.name) for one in warehouse.objects(schemas)} if schemas else set()
    return [one for one, table in places.items() if (table.db.lower(), table.name.lower()) not in present]
