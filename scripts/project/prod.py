"""What prod holds, as SQLMesh's state has it."""

from __future__ import annotations

from sqlmesh import Context
from sqlmesh.core.snapshot import Snapshot, SnapshotTableInfo

PROD = "prod"


def prod_versions(context: Context) -> list[SnapshotTableInfo]:
    """Which versions of its models prod was deployed with, and where they are; none where there is no prod yet."""
    environment = context.state_sync.get_environment(PROD)
    return list(environment.snapshots) if environment else []


def prod_snapshots(context: Context) -> list[Snapshot]:
    """The models of prod as they were deployed, with their windows: to read them takes a while."""
    return list(context.state_sync.get_snapshots(prod_versions(context)).values())
