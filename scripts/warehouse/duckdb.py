"""The DuckDB engine: one file, one process, one transaction a load."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import duckdb

from scripts.errors import PipelineError
from scripts.warehouse import StoredObject, stored_objects

PARSED_DATABASE = "parsed_feed"


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
            raise not_opened(path, error) from error

    def fetch(self, sql: str) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql).fetchall()

    def execute(self, sql: str) -> None:
        self._connection.execute(sql)

    def relation(self, sql: str) -> duckdb.DuckDBPyRelation:
        return self._connection.sql(sql)

    def objects(self, schemas: Collection[str]) -> set[StoredObject]:
        return stored_objects(self.fetch, schemas, "table_catalog = CURRENT_DATABASE()")

    def close(self) -> None:
        # Left to the end of the last connection, the same takes many times as long.
        with suppress(duckdb.Error):
            self._connection.execute("CHECKPOINT")
        self._connection.close()

    @contextmanager
    def load(self) -> Iterator[DuckDBLoadArea]:
        with closing(DuckDBLoadArea(self._connection)) as area:
            self._connection.execute("BEGIN")
            try:
                yield area
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")


class DuckDBLoadArea:
    """One transaction; the files are parsed outside it, into a database in memory beside it."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self._parsers: list[duckdb.DuckDBPyConnection] = []
        self._scratch: list[str] = []
        connection.execute(f"ATTACH ':memory:' AS {PARSED_DATABASE}")

    def parser(self) -> duckdb.DuckDBPyConnection:
        parser = self._connection.cursor()
        parser.execute(f"USE {PARSED_DATABASE}")
        self._parsers.append(parser)
        return parser

    def stage(self, table: str) -> str:
        return f"{PARSED_DATABASE}.{table}"

    def scratch(self, name: str, query: str) -> str:
        self._scratch.append(name)
        self._connection.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS {query}")
        return name

    def close(self) -> None:
        """Lets go of what was parsed and compared: it takes more memory than all that follows."""
        for parser in self._parsers:
            parser.close()
        for name in self._scratch:
            self._connection.execute(f"DROP TABLE IF EXISTS {name}")
        self._connection.execute(f"DETACH {PARSED_DATABASE}")


def not_opened(path: Path, error: Exception) -> PipelineError:
    """Why a database file can't be opened, and what to do where another process has it open."""
    if "lock" in str(error).lower():
        return PipelineError(
            f"Another process has {path} open (a run, `sqlmesh ui`, or a SQL client), and DuckDB lets only one write.",
            "Close it and run again.",
        )
    return PipelineError(f"The database {path} can't be opened: {error}")
