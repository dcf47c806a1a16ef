"""A database of the time when its catalog was named after its file: views and SQLMesh's state name that one still.

A model's identifiers do not depend on its catalog, so with the name put right nothing has to be built again.
"""

from __future__ import annotations

import re

import duckdb

# Tables of SQLMesh's state, and those of their columns that name models.
_STATE = {
    "_snapshots": ("name", "snapshot"),
    "_intervals": ("name",),
    "_environments": ("snapshots", "promoted_snapshot_ids", "previous_finalized_snapshots"),
    "_auto_restatements": ("snapshot_name",),
}


def put_right(connection: duckdb.DuckDBPyConnection, catalog: str) -> None:
    """Has the views and the state of an attached database name it by `catalog`, where it has this project's ledger."""
    # SQLMesh's physical ones first, for the others read them.
    found = connection.execute(
        "SELECT sql FROM DUCKDB_VIEWS() WHERE database_name = $catalog AND NOT internal AND EXISTS (SELECT 1 FROM "
        "DUCKDB_TABLES() WHERE database_name = $catalog AND schema_name = 'landing' AND table_name = 'load') "
        "ORDER BY STARTS_WITH(schema_name, 'sqlmesh__') DESC, view_oid",
        {"catalog": catalog},
    )
    views = [sql for (sql,) in found.fetchall()]
    # The name by which views of SQLMesh know the database, in quotes where it needs them.
    named = (re.search(r'FROM (\w+|"[^"]+")\.sqlmesh__', sql) for sql in views)
    former = next((name[1] for name in named if name and name[1] != catalog), None)
    if former is None:
        return
    connection.execute("BEGIN")
    for sql in views:
        renamed = re.sub(rf"{re.escape(former)}\.(?=sqlmesh__|landing\.)", f"{catalog}.", sql)
        if renamed != sql:
            connection.execute(renamed.replace("CREATE VIEW", "CREATE OR REPLACE VIEW", 1))
    _rename_in_state(connection, former.strip('"'), catalog)
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
