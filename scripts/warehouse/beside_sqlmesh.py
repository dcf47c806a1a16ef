"""The tables as SQLMesh's own connection shows them, where SQLMesh is at work and no connection of ours is there."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from typing import Any

from sqlglot import parse_one
from sqlmesh.core.engine_adapter.base import EngineAdapter

from scripts.errors import PipelineError, reason
from scripts.warehouse import StoredObject, columns_of, stored_objects, view_definitions


class AdapterTables:
    """What an engine adapter of SQLMesh can see."""

    def __init__(self, adapter: EngineAdapter) -> None:
        self._adapter = adapter
        self.gateway = adapter.dialect
        # Unity Catalog describes one catalog; DuckDB all that are attached.
        self._only = "table_catalog = CURRENT_DATABASE()" if self.gateway == "duckdb" else "TRUE"

    def fetch(self, sql: str) -> list[tuple[Any, ...]]:
        try:
            return self._adapter.fetchall(parse_one(sql, dialect="duckdb"))
        except Exception as error:
            raise PipelineError(reason(error)) from error

    def columns_of(self, table: str) -> set[str]:
        """The names of a table's columns; none where there is no such table."""
        with suppress(PipelineError):
            return columns_of(self.fetch, table)
        return set()

    def objects(self, schemas: Collection[str]) -> set[StoredObject]:
        return stored_objects(self.fetch, schemas, self._only)

    def view_definitions(self, schemas: Collection[str]) -> dict[tuple[str, str], str]:
        return view_definitions(self.fetch, schemas, self._only)
