"""A pipeline of its own on either gateway, and its tables with their types, so that the two can be compared."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.warehouse import Warehouse
from tests.compare import assert_same_rows
from tests.databricks.fixture import RehearsalServer
from tests.lab import TABLES, Lab, Rows, environment_of

ALL_TABLES = (*TABLES, "landing.reject", "landing.load")
VOLUME = "/Volumes/spark_catalog/landing/feed"


@dataclass(frozen=True)
class Table:
    """A table as an engine returns it: its columns with their types, in DuckDB's words, and its rows."""

    types: dict[str, str]
    rows: Rows

    @classmethod
    def read(cls, warehouse: Warehouse, name: str) -> Table:
        relation = warehouse.relation(f"SELECT * FROM {name}")
        types = {column: str(kind) for column, kind in zip(relation.columns, relation.types, strict=True)}
        return cls(types, [dict(zip(types, row, strict=True)) for row in relation.fetchall()])


class SparkLab(Lab):
    """A lab whose tables are on the rehearsal server."""

    def rows(self, table: str) -> Rows:
        return Table.read(self.job.warehouse, table).rows


@contextmanager
def databricks_environment(server: RehearsalServer, folder: Path, **more: str) -> Iterator[None]:
    """The environment of a pipeline whose tables are on the server and whose files and state are in `folder`."""
    with environment_of(folder, DATABASE_TYPE="databricks", **server.environment, **more):
        yield


@contextmanager
def databricks_lab(server: RehearsalServer, folder: Path, **more: str) -> Iterator[SparkLab]:
    """A lab on the server, whose tables are as they are; its state is in `folder`."""
    with databricks_environment(server, folder, **more):
        current = SparkLab(folder)
        try:
            yield current
        finally:
            current.close()


def read_tables(lab: Lab) -> dict[str, Table]:
    """Every table of all layers, the landing zone and its ledger and rejects."""
    return {name: Table.read(lab.job.warehouse, name) for name in ALL_TABLES}


def assert_same(expected: dict[str, Table], actual: dict[str, Table]) -> None:
    """Checks that both engines hold the same tables: columns in their order, types, rows."""
    assert expected.keys() == actual.keys()
    for name, table in expected.items():
        types, others = list(table.types.items()), list(actual[name].types.items())
        assert types == others, f"{name}: {types} became {others}"
        assert_same_rows(table.rows, actual[name].rows, name)


@contextmanager
def asking(server: RehearsalServer) -> Iterator[Callable[[str], list[tuple[Any, ...]]]]:
    """A connection that runs statements of Databricks' dialect, and returns the rows of each."""
    from databricks import sql

    with (
        sql.connect(
            server_hostname=server.environment["DATABRICKS_HOST"],
            http_path=server.environment["DATABRICKS_HTTP_PATH"],
            access_token=server.environment["DATABRICKS_TOKEN"],
            catalog=server.environment["DATABRICKS_CATALOG"],
        ) as connection,
        connection.cursor() as cursor,
    ):

        def ask(statement: str) -> list[tuple[Any, ...]]:
            cursor.execute(statement)
            return [tuple(row) for row in cursor.fetchall()] if cursor.description else []

        yield ask


def execute(server: RehearsalServer, *statements: str) -> list[tuple[Any, ...]]:
    """Runs statements on a connection of their own; returns the rows of the last."""
    rows: list[tuple[Any, ...]] = []
    with asking(server) as ask:
        for statement in statements:
            rows = ask(statement)
    return rows


def everything(server: RehearsalServer) -> dict[str, Any]:
    """What every schema of the catalog holds: of each table its definition, its versions and its rows, of each view its
    definition and its rows."""
    found: dict[str, Any] = {}
    with asking(server) as ask:
        for (schema,) in ask("SHOW SCHEMAS"):
            views = {name for _, name, *_ in ask(f"SHOW VIEWS IN `{schema}`")}
            found[schema] = {}
            for _, name, *_ in ask(f"SHOW TABLES IN `{schema}`"):
                table = f"`{schema}`.`{name}`"
                found[schema][name] = (
                    ask(f"DESCRIBE TABLE EXTENDED {table}"),
                    [] if name in views else ask(f"DESCRIBE HISTORY {table}"),
                    sorted(ask(f"SELECT * FROM {table}"), key=str),
                )
    return found


def forget_everything(server: RehearsalServer, folder: Path) -> None:
    """Drops every schema of the server with all that is in it: labs share its one catalog."""
    with databricks_environment(server, folder):
        schemas = [name for (name,) in execute(server, "SHOW SCHEMAS") if name != "default"]
        execute(server, *(f"DROP SCHEMA `{name}` CASCADE" for name in schemas))


@contextmanager
def cut_after(server: RehearsalServer, *patterns: str) -> Iterator[None]:
    """The connection is cut after a statement that matches was run, once for each pattern; checks that the client then
    sent it again."""
    server.drop_connection(*patterns, executed=True)
    logged = len(server.statements)
    yield
    sent = [statement.sql for statement in server.statements[logged:]]
    for pattern in patterns:
        texts = [sql for sql in sent if re.search(pattern, sql)]
        assert len(texts) > len(set(texts)), f"{pattern} was not sent again"


def files_in_volume(server: RehearsalServer) -> list[str]:
    """What lies in the feeds' volume, folders left out."""

    def below(folder: str) -> Iterator[str]:
        for path, name, *_ in execute(server, f"LIST '{folder}'"):
            yield from below(path.rstrip("/")) if name.endswith("/") else [path]

    return list(below(VOLUME))
