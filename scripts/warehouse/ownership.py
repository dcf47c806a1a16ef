"""What in the warehouse is this project's and what is somebody else's, which it never drops or writes over.

SQLMesh replaces whatever stands under a name that it wants. The landing zone's ledger is what tells: it is made before
any model and dropped by nothing, so where it is missing the project was never here, and nothing there can be its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress

import duckdb

from scripts.errors import ForeignObjectsError, PipelineError
from scripts.feeds import FEEDS
from scripts.settings import PROJECT_ROOT, Settings, databricks_of
from scripts.warehouse import SCRATCH_SCHEMA, Readable, StoredObject
from scripts.warehouse.landing_tables import LANDING_TABLES

LANDING = "landing"
PHYSICAL_PREFIX = "sqlmesh__"
LAYERS = frozenset(folder.name for folder in (PROJECT_ROOT / "models").iterdir() if folder.is_dir())
SCHEMAS = frozenset({LANDING, SCRATCH_SCHEMA, *LAYERS, *(PHYSICAL_PREFIX + layer for layer in LAYERS)})
_LISTED = 8
_PHYSICAL_TABLE = re.compile(rf"\b{PHYSICAL_PREFIX}(\w+?)[`\"]?\.[`\"]?\1__\w+__\d+", re.IGNORECASE)


def refuse_foreign_objects(warehouse: Readable, settings: Settings, environment: str = "prod") -> list[StoredObject]:
    """Stops before anything is written where that could take somebody's tables away: raises ForeignObjectsError where
    the project was never here, yet one of its schemas holds something; or where a table, or a view that is not ours,
    stands where a view of the environment belongs. Returns what others have in these schemas in nobody's way."""
    suffix = "" if environment == "prod" else f"__{environment}"
    layers = {layer + suffix for layer in LAYERS}
    models = {
        # A blueprint stands for a model per feed.
        f"{path.parent.name}{suffix}.{path.stem.replace('@feed', feed.name)}"
        for path in (PROJECT_ROOT / "models").glob("*/*.sql")
        for feed in FEEDS
    }
    own = models | {f"{LANDING}.{name}" for name in LANDING_TABLES}
    present = in_the_way = warehouse.objects(SCHEMAS | layers)
    if _is_here(warehouse, present):
        views = warehouse.view_definitions(layers)
        # A view is ours that shows a table which SQLMesh keeps; one whose SQL may not be seen is taken for ours.
        foreign = {view for view, sql in views.items() if sql and not _PHYSICAL_TABLE.search(sql)}
        in_the_way = {one for one in present if str(one) in models and (not one.is_view or str(one) in foreign)}
    if in_the_way:
        raise _refusal(in_the_way, warehouse.gateway, settings)
    return sorted(one for one in present if one.schema in layers | {LANDING} and str(one) not in own)


def _is_here(warehouse: Readable, present: set[StoredObject]) -> bool:
    """Whether the ledger is there, and is ours by its columns."""
    with suppress(duckdb.Error, PipelineError):
        if StoredObject(LANDING, "load", is_view=False) in present:
            warehouse.fetch(f"SELECT {', '.join(LANDING_TABLES['load'])} FROM landing.load LIMIT 0")
            return True
    return False


def _refusal(objects: Iterable[StoredObject], gateway: str, settings: Settings) -> ForeignObjectsError:
    names = sorted(map(str, objects))
    more = f" and {len(names) - _LISTED:,} more" if len(names) > _LISTED else ""
    if gateway == "duckdb":
        place, setting = f"The database {settings.duckdb_path}", "DUCKDB_PATH"
    else:
        place, setting = f"Catalog {databricks_of(settings).catalog}", "DATABRICKS_CATALOG"
    return ForeignObjectsError(
        f"{place} holds what this project did not make, in schemas that it writes to: {', '.join(names[:_LISTED])}"
        f"{more}. Nothing was written.",
        f"Set {setting} to another one, or move these to another schema and run again.",
    )
