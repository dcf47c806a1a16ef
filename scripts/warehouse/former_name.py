"""A database of the time when its catalog was named after its file: views and SQLMesh's state name that one still.

A model's identifiers do not depend on its catalog, so with the name put right nothing has to be built again.
"""

from __future__ import annotations

import re

import duckdb

# Beginnings of the names of schemas that SQLMesh's views read.
_SCHEMAS = ("sqlmesh__", "landing.")
# Tables of SQLMesh's state, and those of their columns that name models.
_STATE = {
    "_snapshots": ("name", "snapshot"),
    "_intervals": ("name",),
    "_environments": ("snapshots", "promoted_snapshot_ids", "previous_finalized_snapshots"),
    "_auto_restatements": ("snapshot_name",),
}


def put_right(connection: duckdb.DuckDBPyConnection, catalog: str) -> None:
    """Has the views and the state of an attached database name it by `catalog`; all others are left as they are."""
    views = connection.execute(
        rf"""
        SELECT sql, REGEXP_EXTRACT(sql, '(\w+|"[^"]+")\.({"|".join(map(re.escape, _SCHEMAS))})', 1) AS former
        FROM DUCKDB_VIEWS()
        WHERE database_name = $catalog AND former NOT IN ('', $catalog)
        -- Physical views first: the others read them.
        ORDER BY STARTS_WITH(schema_name, 'sqlmesh__') DESC, view_oid
        """,
        {"catalog": catalog},
    ).fetchall()
    if not views:
        return
    connection.execute("BEGIN")
    for sql, former in views:
        for schema in _SCHEMAS:
            sql = sql.replace(f"{former}.{schema}", f"{catalog}.{schema}")
        connection.execute(sql.replace("CREATE VIEW", "CREATE OR REPLACE VIEW", 1))
    for former in {former.strip('"') for _, former in views}:
        _rename_in_state(connection, former, catalog)
    connection.execute("COMMIT")


def _rename_in_state(connection: duckdb.DuckDBPyConnection, former: str, catalog: str) -> None:
    stored = connection.execute(
        "SELECT table_name FROM DUCKDB_TABLES() WHERE database_name = ? AND schema_name = 'sqlmesh'", [catalog]
    ).fetchall()
    # A name by itself, one inside JSON, one that is a key there, and the model's attribute.
    forms = ('"{}".', r"\"{}\".", r'"\"{}\""', '"default_catalog":"{}"')
    for table in _STATE.keys() & {name for (name,) in stored}:
        for column in _STATE[table]:
            for form in forms:
                connection.execute(
                    f"UPDATE sqlmesh.{table} SET {column} = REPLACE({column}, $old, $new) "
                    f"WHERE CONTAINS({column}, $old)",
                    {"old": form.format(former), "new": form.format(catalog)},
                )
