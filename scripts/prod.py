"""What prod holds, as SQLMesh's state has it."""

from __future__ import annotations

from sqlmesh import Context
from sqlmesh.core.snapshot import Snapshot

PROD = "prod"


def prod_snapshots(context: Context) -> list[Snapshot]:
    """The models of prod as they were deployed; none where there is no prod yet."""
    environment = context.state_sync.get_environment(PROD)
    return list(context.state_sync.get_snapshots(environment.snapshots).values()) if environment else []
