"""SQLMesh's record of the windows that are processed: everything that this project edits in it stands here.

SQLMesh keeps windows per name, version and identifier of a model, those of branches and of branches that were dropped
included, and looks at no recorded window twice. Rows are exact however often a window is processed, so windows may
always be taken off the record. To put one on it needs proof.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from datetime import datetime, timedelta

from sqlmesh import Context
from sqlmesh.core.snapshot import Snapshot
from sqlmesh.core.snapshot.definition import SnapshotIdAndVersionLike, SnapshotIdLike
from sqlmesh.utils.date import to_timestamp

from scripts.clock import from_milliseconds, hour_of, utc_now
from scripts.project.prod import prod_snapshots, prod_versions
from scripts.sql import row_literal, timestamp_literal
from scripts.warehouse import Warehouse

_END_OF_TIME = to_timestamp("9999-01-01")


def reopen(context: Context, since: datetime | None = None, models: Collection[str] | None = None) -> None:
    """Takes the windows from `since` on (None: all windows) off the record, in every environment and every version, of
    these models (by SQLMesh's full names; None: of all).

    What is left is right to the millisecond; SQLMesh looks again at the whole of an hour of which a part is missing.
    Its own restatement ends at a whole second and leaves what was processed after it on record.
    """
    known = _known_versions(context)
    _reopen(context, [version for version in known if models is None or version.name in models], since)


def reopen_unproven(context: Context) -> None:
    """Keeps, of the windows of versions that prod does not hold, those up to which all of prod is right.

    A branch may evaluate its own version of a model for a window before the models that it shares with prod have seen
    a load of it; so this comes before prod goes on.
    """
    held = {version.name_version for version in prod_versions(context)}
    others = [version for version in _known_versions(context) if version.name_version not in held]
    _reopen(context, others, prod_is_right_until(context))


def prod_is_right_until(context: Context) -> datetime | None:
    """End of the last window that all of prod's models have on record; None where one has none, or there is no prod."""
    return _right_until(prod_snapshots(context))


def shared_models_are_right_until(context: Context) -> datetime | None:
    """The same of those of prod's models that stand in this folder as they are there."""
    here = {snapshot.snapshot_id for snapshot in context.snapshots.values()}
    return _right_until([snapshot for snapshot in prod_snapshots(context) if snapshot.snapshot_id in here])


def close_finished_hours(context: Context, warehouse: Warehouse, execution_time: datetime) -> None:
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
    loaded_since = f"loaded_at >= {timestamp_literal(ran_until)} AND loaded_at < {timestamp_literal(end)}"
    if execution_time < end or hour == ran_until or warehouse.fetch(f"SELECT 1 FROM landing.load WHERE {loaded_since}"):
        return
    known = set(json.loads(versions))
    processed = [(to_timestamp(hour), to_timestamp(end))]
    only_these = {"intervals": processed, "dev_intervals": [], "pending_restatement_intervals": []}
    seen_whole = []
    for snapshot in prod_snapshots(context):
        unaltered = snapshot.last_altered_ts is None or from_milliseconds(snapshot.last_altered_ts) <= finished_at
        ends_with_run = snapshot.intervals and from_milliseconds(snapshot.intervals[-1][1]) == ran_until
        if unaltered and ends_with_run and _version_text(snapshot) in known:
            seen_whole.append(snapshot.snapshot_intervals.copy(update=only_these))
    context.state_sync.add_snapshots_intervals(seen_whole)


def record_run(
    context: Context, warehouse: Warehouse, run_id: str, started_at: datetime, execution_time: datetime
) -> None:
    """Notes in `landing.run` that prod's models hold all up to a time, audited and reconciled; repeating it is safe."""
    run = row_literal([run_id, started_at, utc_now(), execution_time, model_versions(context)])
    warehouse.execute(
        f"INSERT INTO landing.run SELECT * FROM (VALUES {run}) AS ended "
        f"WHERE NOT EXISTS (SELECT 1 FROM landing.run WHERE run_id = '{run_id}')"
    )


def model_versions(context: Context) -> str:
    """The exact versions of prod's models, as text."""
    return json.dumps(sorted(map(_version_text, prod_versions(context))))


def _version_text(one: SnapshotIdLike) -> str:
    """A model's exact version, as `landing.run` keeps it."""
    return f"{one.name} {one.identifier}"


def _known_versions(context: Context) -> list[SnapshotIdAndVersionLike]:
    """Every version of every model of this folder or of an environment, those that no environment holds included."""
    names = {snapshot.name for snapshot in context.snapshots.values()}
    for environment in context.state_sync.get_environments():
        names |= {snapshot.name for snapshot in environment.snapshots}
    return list(context.state_sync.get_snapshots_by_names(names, exclude_expired=False))


def _reopen(context: Context, versions: Iterable[SnapshotIdAndVersionLike], since: datetime | None) -> None:
    start = to_timestamp(since) if since else 0
    stored = context.state_sync.get_snapshots(versions).values()
    recorded = [(one, (start, _END_OF_TIME)) for one in stored if one.intervals and one.intervals[-1][1] > start]
    if recorded:
        # Without shared versions the windows of an earlier wording of the same model would stay.
        context.state_sync.remove_intervals(recorded, remove_shared_versions=True)


def _right_until(snapshots: Collection[Snapshot]) -> datetime | None:
    """SQLMesh's own `max_interval_end_per_model` still counts windows that were taken off the record."""
    # A seed is whole whenever it is there.
    models = [one for one in snapshots if one.evaluatable and not one.is_seed]
    if not models or not all(one.intervals for one in models):
        return None
    return from_milliseconds(min(one.intervals[0][1] for one in models))
