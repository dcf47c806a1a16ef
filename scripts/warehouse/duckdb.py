"""The DuckDB engine: one file, one process, one transaction a load."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import duckdb

from scripts.errors import DatabaseInUseError, PipelineError
from scripts.sql import text_literal
from scripts.warehouse import LoadArea, Warehouse, former_name

# One name, whatever the file's, for views name their catalog.
CATALOG = "lending_club"
PARSED_DATABASE = "parsed_feed"
_HOLDER = re.compile(r"lock is held in (?P<program>.+?) \(PID (?P<pid>\d+)\)")


class DuckDBWarehouse(Warehouse):
    """The tables in a DuckDB database file."""

    gateway = "duckdb"

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    @classmethod
    def open(cls, path: Path) -> DuckDBWarehouse:
        """Connects to the file on its own, without SQLMesh; raises PipelineError where it is not there or can't be
        opened, of the kind DatabaseInUseError where another process has it open."""
        if not path.exists():
            raise PipelineError(f"There is no database at {path} yet. Run `make run` first, or set DUCKDB_PATH.")
        connection = duckdb.connect(config={"temp_directory": f"{path}.tmp"})
        try:
            connection.execute(f"ATTACH {text_literal(path)} AS {CATALOG}; USE {CATALOG}")
            former_name.put_right(connection, CATALOG)
        except duckdb.Error as error:
            connection.close()
            raise not_opened(path, error) from error
        return cls(connection)

    @classmethod
    def beside(cls, connection: duckdb.DuckDBPyConnection) -> DuckDBWarehouse:
        """The tables over another connection to a database that is attached already."""
        cursor = connection.cursor()
        cursor.execute(f"USE {CATALOG}")
        return cls(cursor)

    def fetch(self, sql: str) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql).fetchall()

    def execute(self, sql: str) -> None:
        self._connection.execute(sql)

    def relation(self, sql: str) -> duckdb.DuckDBPyRelation:
        return self._connection.sql(sql)

    def close(self) -> None:
        # Left to the end of the last connection, the same takes many times as long.
        with suppress(duckdb.Error):
            self._connection.execute("CHECKPOINT")
        self._connection.close()

    @contextmanager
    def load(self) -> Iterator[DuckDBLoadArea]:
        with ExitStack() as opened:
            area = DuckDBLoadArea(self._connection, opened)
            self._connection.execute("BEGIN")
            try:
                yield area
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")


class DuckDBLoadArea(LoadArea):
    """One transaction; the files are parsed outside it, into a database in memory beside it. What was parsed and
    compared is let go of with `opened`: it takes more memory than all that follows."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, opened: ExitStack) -> None:
        self._connection, self._opened = connection, opened
        connection.execute(f"ATTACH ':memory:' AS {PARSED_DATABASE}")
        opened.callback(connection.execute, f"DETACH {PARSED_DATABASE}")

    def parser(self) -> duckdb.DuckDBPyConnection:
        parser = self._opened.enter_context(self._connection.cursor())
        parser.execute(f"USE {PARSED_DATABASE}")
        return parser

    def stage(self, table: str) -> str:
        return f"{PARSED_DATABASE}.{table}"

    def scratch(self, name: str, query: str) -> str:
        self._opened.callback(self._connection.execute, f"DROP TABLE IF EXISTS {name}")
        self._connection.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS {query}")
        return name


def not_opened(path: Path, error: Exception) -> PipelineError:
    """Why a database file can't be opened, and what to do where another process has it open."""
    said = str(error)
    if "set lock on file" not in said:
        return PipelineError(f"The database {path} can't be opened: {said}")
    held = _HOLDER.search(said)
    by = f"PID {held['pid']}, {held['program']}" if held else "a run, `sqlmesh ui`, or a SQL client"
    what = f"Another process has {path} open ({by}), and DuckDB lets only one write."
    return DatabaseInUseError(what, "Close it and run again.")
