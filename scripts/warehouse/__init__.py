"""What the steps need of the engine that holds the tables, whichever engine it is."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import duckdb

# Holds the scratch tables of the load under way on a warehouse without temporary ones, and is there only as long.
SCRATCH_SCHEMA = "landing_scratch"


@dataclass(frozen=True, order=True)
class StoredObject:
    """A table or a view; names in lower case."""

    schema: str
    name: str
    is_view: bool


def stored_objects(
    fetch: Callable[[str], list[tuple[Any, ...]]], schemas: Collection[str], only: str = "TRUE"
) -> set[StoredObject]:
    """The tables and views of these schemas, read by a warehouse's `fetch`; `only` is a condition on the catalog."""
    rows = fetch(_described("tables", "table_type", schemas, only))
    return {StoredObject(schema.lower(), name.lower(), kind == "VIEW") for schema, name, kind in rows}


def columns_of(fetch: Callable[[str], list[tuple[Any, ...]]], table: str) -> set[str]:
    """The names of a table's columns, read by a warehouse's `fetch`."""
    return {name for name, *_ in fetch(f"DESCRIBE {table}")}


def view_definitions(
    fetch: Callable[[str], list[tuple[Any, ...]]], schemas: Collection[str], only: str = "TRUE"
) -> dict[tuple[str, str], str]:
    """The SQL of the views of these schemas, by schema and name in lower case; arguments as of `stored_objects`.

    Unity Catalog shows it to a view's owner: of others' views it is empty.
    """
    rows = fetch(_described("views", "view_definition", schemas, only))
    return {(schema.lower(), name.lower()): definition or "" for schema, name, definition in rows}


def _described(view: str, column: str, schemas: Collection[str], only: str) -> str:
    names = ", ".join(f"'{name}'" for name in sorted(schemas))
    return (
        f"SELECT table_schema, table_name, {column} FROM information_schema.{view} "
        f"WHERE {only} AND LOWER(table_schema) IN ({names})"
    )


class Readable(Protocol):
    """A connection that shows which tables there are, and small results of queries.

    SQL is written in DuckDB's dialect and names tables by layer (`marts.account_summary`). It keeps to what both
    engines can say: no QUALIFY, no DuckDB-only functions, no lists or structs.

    Attributes:
        gateway: `duckdb` or `databricks`.
    """

    gateway: str

    def fetch(self, sql: str) -> list[tuple[Any, ...]]:
        """Returns all rows of a query; meant for small results."""
        ...

    def objects(self, schemas: Collection[str]) -> set[StoredObject]:
        """Returns the tables and views of these schemas (names in lower case; they need not exist)."""
        ...

    def view_definitions(self, schemas: Collection[str]) -> dict[tuple[str, str], str]:
        """Returns the SQL of the views of these schemas, by schema and name; empty where it may not be seen."""
        ...


class Warehouse(Readable, Protocol):
    """A connection to the tables of one environment, of our own."""

    def execute(self, sql: str) -> None:
        """Runs a statement for its effect."""
        ...

    def relation(self, sql: str) -> duckdb.DuckDBPyRelation:
        """Returns the rows of an ordered query, in that order, as a relation that may be consumed once."""
        ...

    def close(self) -> None:
        """Lets go of the connection."""
        ...

    def load(self) -> AbstractContextManager[LoadArea]:
        """Opens the area of one load, as soon as no other is open. What was written inside is kept when it ends well,
        and is as if never written when it does not.

        Raises:
            DatabaseInUseError: Another load is open still after LOCK_TIMEOUT.
        """
        ...


class LoadArea(Protocol):
    """Where one load is parsed, compared and written.

    Attributes:
        may_commit: SQL for: no other ingest has taken this one's place meanwhile.
    """

    may_commit: str

    def parser(self) -> duckdb.DuckDBPyConnection:
        """Returns another DuckDB connection to parse a CSV file in; all of them see the same tables."""
        ...

    def stage(self, table: str) -> str:
        """Brings a table of the parsers to the engine; returns the name by which SQL there reads it."""
        ...

    def scratch(self, name: str, query: str) -> str:
        """Stores the rows of a query until the load ends; returns the name by which SQL reads them."""
        ...
