"""The tables as SQLMesh's own connection shows them, where SQLMesh is at work and no connection of ours is there."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from sqlglot import parse_one
from sqlmesh.core.engine_adapter.base import EngineAdapter

from scripts.errors import PipelineError, reason
from scripts.warehouse import Readable


class AdapterTables(Readable):
    """What an engine adapter of SQLMesh can see."""

    def __init__(self, adapter: EngineAdapter) -> None:
        self._adapter, self.gateway = adapter, adapter.dialect

    def fetch(self, sql: str) -> list[tuple[Any, ...]]:
        try:
            return self._adapter.fetchall(parse_one(sql, dialect="duckdb"))
        except Exception as error:
            raise PipelineError(reason(error)) from error

    def columns_of(self, table: str) -> set[str]:
        """The names of a table's columns; none where there is no such table."""
        with suppress(PipelineError):
            return super().columns_of(table)
        return set()
