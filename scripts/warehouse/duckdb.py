"""The DuckDB engine: one file, one process, one transaction a load."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb

from scripts.errors import PipelineError


class DuckDBWarehouse:
    """The tables in a DuckDB database file."""

    gateway = "duckdb"

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    @classmethod
    def open(cls, path: Path) -> DuckDBWarehouse:
        """Connects to the file on its own, without SQLMesh.

        Raises:
            PipelineError: There is no such file, or another process has it open.
        """
        if not path.exists():
            raise PipelineError(f"There is no database at {path} yet. Run `make run` first, or set DUCKDB_PATH.")
        try:
            return cls(duckdb.connect(str(path)))
        except duckdb.IOException as error:
            raise PipelineError(locked_message(path, error)) from error

    def fetch(self, sql: str) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql).fetchall()

    def execute(self, sql: str) -> None:
        self._connection.execute(sql)

    def relation(self, sql: str) -> duckdb.DuckDBPyRelation:
        return self._connection.sql(sql)

    def close(self) -> None:
        self._connection.close()

    @contextmanager
    def load(self) -> Iterator[DuckDBLoadArea]:
        area = DuckDBLoadArea(self._connection)
        self._connection.execute("BEGIN")
        try:
            yield area
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")


class DuckDBLoadArea:
    """One transaction; the files are parsed into temporary tables of the same connection."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.parser = connection

    def stage(self, table: str) -> str:
        return table

    def scratch(self, name: str, query: str) -> str:
        self.parser.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS {query}")
        return name


def locked_message(path: Path, error: Exception) -> str:
    """What to do when the database file can't be opened."""
    if "lock" in str(error).lower():
        return (
            f"Another process has {path} open (a run, `sqlmesh ui`, or a SQL client), and DuckDB lets only one write. "
            "Close it and run again."
        )
    return f"The database {path} can't be opened: {error}"
