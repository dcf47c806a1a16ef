"""What prod should show and does not any more is made again: views, tables, schemas that somebody dropped.

SQLMesh trusts its state: a plan that changes nothing looks at no table and at no view.
"""

from __future__ import annotations

from sqlglot import exp
from sqlmesh import Context
from sqlmesh.core.snapshot import DeployabilityIndex, Snapshot
from sqlmesh.core.snapshot.definition import to_view_mapping

from scripts import windows
from scripts.prod import PROD, prod_snapshots
from scripts.warehouse import Warehouse


def rebuild_lost_tables(context: Context, warehouse: Warehouse) -> None:
    """Has the next run fill the tables of prod that are not there any more, from their first window on."""
    lost = _lost(warehouse, [(snapshot, exp.to_table(snapshot.table_name())) for snapshot in _stored_models(context)])
    if not lost:
        return
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
        (snapshot, exp.to_table(snapshot.qualified_view_name.for_environment(naming)))
        for snapshot in _stored_models(context)
    ]
    lost = _lost(warehouse, views)
    if lost:
        snapshots = {snapshot.snapshot_id: snapshot for snapshot in prod_snapshots(context)}
        context.snapshot_evaluator.promote(
            lost,
            environment_naming_info=naming,
            snapshots=snapshots,
            table_mapping=to_view_mapping(
                snapshots.values(), naming, context.default_catalog, context.engine_adapter.dialect
            ),
        )
    return sorted(f"{view.db}.{view.name}" for snapshot, view in views if snapshot in lost)


def _stored_models(context: Context) -> list[Snapshot]:
    """The models of prod that have a table and a view."""
    return [snapshot for snapshot in prod_snapshots(context) if snapshot.is_model and not snapshot.is_symbolic]


def _lost(warehouse: Warehouse, places: list[tuple[Snapshot, exp.Table]]) -> list[Snapshot]:
    """Those of which the table or view does not exist."""
    if not places:
        return []
    stored = warehouse.objects({table.db.lower() for _, table in places})
    present = {(one.schema, one.name) for one in stored}
    return [snapshot for snapshot, table in places if (table.db.lower(), table.name.lower()) not in present]
