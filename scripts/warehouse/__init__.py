"""What the steps need of the engine that holds the tables, whichever engine it is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol

import duckdb

from scripts.sql import text_literal

# Holds the scratch tables of the load under way on a warehouse without temporary ones, and is there only as long.
SCRATCH_SCHEMA = "landing_scratch"


class StoredObject(NamedTuple):
    """A table or a view; names in lower case."""

    schema: str
    name: str
    is_view: bool

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


class Readable(ABC):
    """A connection that shows which tables there are, and small results of queries.

    SQL is written in DuckDB's dialect and names tables by layer (`marts.account_summary`). It keeps to what both
    engines can say: no QUALIFY, no DuckDB-only functions, no lists or structs.
    """

    gateway: str  # duckdb or databricks

    @abstractmethod
    def fetch(self, sql: str) -> list[tuple[Any, ...]]:
        """Returns all rows of a query; meant for small results."""

    def columns_of(self, table: str) -> set[str]:
        """The names of a table's columns."""
        return {name for name, *_ in self.fetch(f"DESCRIBE {table}")}

    def objects(self, schemas: Collection[str]) -> set[StoredObject]:
        """The tables and views of these schemas (names in lower case; they need not exist)."""
        rows = self._described("tables", "table_type", schemas)
        return {StoredObject(schema.lower(), name.lower(), kind == "VIEW") for schema, name, kind in rows}

    def view_definitions(self, schemas: Collection[str]) -> dict[str, str]:
        """The SQL of the views of these schemas, by `schema.name` in lower case. Unity Catalog shows it to a view's
        owner: of others' views it is empty."""
        rows = self._described("views", "view_definition", schemas)
        return {f"{schema}.{name}".lower(): definition or "" for schema, name, definition in rows}

    def _described(self, view: str, column: str, schemas: Collection[str]) -> list[tuple[Any, ...]]:
        names = ", ".join(map(text_literal, sorted(schemas)))
        # Unity Catalog describes one catalog; DuckDB all that are attached.
        only = "table_catalog = CURRENT_DATABASE()" if self.gateway == "duckdb" else "TRUE"
        return self.fetch(
            f"SELECT table_schema, table_name, {column} FROM information_schema.{view} "
            f"WHERE {only} AND LOWER(table_schema) IN ({names})"
        )


class Warehouse(Readable):
    """A connection to the tables of one environment, of our own."""

    @abstractmethod
    def execute(self, sql: str) -> None:
        """Runs a statement for its effect."""

    @abstractmethod
    def relation(self, sql: str) -> duckdb.DuckDBPyRelation:
        """Returns the rows of an ordered query, in that order, as a relation that may be consumed once."""

    @abstractmethod
    def close(self) -> None:
        """Lets go of the connection."""

    @abstractmethod
    def load(self) -> AbstractContextManager[LoadArea]:
        """Opens the area of one load, as soon as no other is open; raises DatabaseInUseError where one is still after
        LOCK_TIMEOUT. What was written inside is kept when it ends well, and is as if never written when it does not."""


class LoadArea(Protocol):
    """Where one load is parsed, compared and written."""

    may_commit: str = "TRUE"  # SQL for: no other ingest has taken this one's place meanwhile

    def parser(self) -> duckdb.DuckDBPyConnection:
        """Returns another DuckDB connection to parse a CSV file in; all of them see the same tables."""

    def stage(self, table: str) -> str:
        """Brings a table of the parsers to the engine; returns the name by which SQL there reads it."""

    def scratch(self, name: str, query: str) -> str:
        """Stores the rows of a query until the load ends; returns the name by which SQL reads them."""
