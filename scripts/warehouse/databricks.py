"""The Databricks engine: SQL warehouse for the tables, Unity Catalog volume for the files on their way there."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import duckdb
import pyarrow as pa
import sqlglot
from databricks import sql as databricks_sql
from databricks.sql.exc import Error as DatabricksError

from scripts.clock import utc_now
from scripts.errors import PipelineError, first_line
from scripts.settings import DatabricksSettings
from scripts.sql import text_literal
from scripts.warehouse import SCRATCH_SCHEMA, LoadArea, Warehouse
from scripts.warehouse.lease import is_held, lease
from scripts.warehouse.reachable import reach_host, try_token

FETCHED_ROWS = 100_000
SIGN_IN_SECONDS = 60
# Parts of a load's Parquet files: large enough for the warehouse to read well, small enough to repeat when a PUT fails.
PART_BYTES = "256MB"


class DatabricksWarehouse(Warehouse):
    """The tables of one Unity Catalog catalog, through a SQL warehouse. Sessions run in UTC."""

    gateway = "databricks"

    def __init__(self, settings: DatabricksSettings, lock_timeout: float = 0) -> None:
        reach_host(settings)
        try_token(settings)
        self._settings, self._lock_timeout = settings, lock_timeout
        self._staging_folder = tempfile.TemporaryDirectory(prefix="lending_club_")
        try:
            self._connection = databricks_sql.connect(
                server_hostname=settings.host,
                http_path=settings.http_path,
                catalog=settings.catalog,
                session_configuration={"timezone": "UTC"},
                staging_allowed_local_path=self._staging_folder.name,
                user_agent_entry="lending_club",
                **_credentials(settings),
            )
        except Exception as error:
            said = f"No connection to Databricks at {settings.host}: {first_line(error)}"
            raise PipelineError(f"{said} Run `python -m scripts.pipeline check` to see which part fails.") from error

    def fetch(self, sql: str) -> list[tuple[Any, ...]]:
        return self.fetch_native(to_databricks(sql))

    def fetch_native(self, sql: str) -> list[tuple[Any, ...]]:
        """Returns all rows that a statement of Databricks' own dialect answers."""
        with self._cursor(sql) as cursor:
            return [tuple(row) for row in cursor.fetchall()]

    def execute(self, sql: str) -> None:
        self.execute_native(to_databricks(sql))

    def execute_native(self, sql: str, parameters: dict[str, Any] | None = None) -> None:
        """Runs a statement of Databricks' own dialect: what only it can say."""
        with self._cursor(sql, parameters):
            pass

    def relation(self, sql: str) -> duckdb.DuckDBPyRelation:
        cursor = self._open(to_databricks(sql))
        first = cursor.fetchmany_arrow(FETCHED_ROWS)

        def batches() -> Iterator[pa.RecordBatch]:
            table = first
            while table.num_rows:
                yield from table.to_batches()
                table = cursor.fetchmany_arrow(FETCHED_ROWS)
            cursor.close()

        return duckdb.from_arrow(pa.RecordBatchReader.from_batches(first.schema, batches()))

    @contextmanager
    def load(self) -> Iterator[DatabricksLoadArea]:
        """Rows count once the ledger names their load. Only who holds the lease writes, so that scratch tables and
        files of any other load are left over from one that was killed: they are removed first."""
        load_id = f"load_{uuid4().hex}"
        with (
            lease(self, load_id, self._lock_timeout, lambda: DatabricksWarehouse(self._settings)),
            self.volume_area(load_id) as area,
        ):
            area.may_commit = is_held(load_id)
            self._remove_leftovers(area)
            try:
                yield area
            finally:
                # One that has lost its lease meanwhile leaves alone what the other load has made.
                with suppress(PipelineError):
                    for table in area.scratch_tables:
                        self.execute_native(f"DROP TABLE IF EXISTS {table}")
                    self.execute_native(f"DROP SCHEMA IF EXISTS {SCRATCH_SCHEMA}")

    @contextmanager
    def volume_area(self, name: str = "") -> Iterator[DatabricksLoadArea]:
        """A folder of its own in the volume, which is made sure of; the folder is removed when it is left. Without a
        name it gets one that says the day on which it was made (see `_remove_leftovers`)."""
        schema, volume = self._settings.volume
        self.execute_native(f"CREATE SCHEMA IF NOT EXISTS {schema}")
        self.execute_native(f"CREATE VOLUME IF NOT EXISTS {schema}.{volume}")
        root = f"/Volumes/{self._settings.catalog}/{schema}/{volume}"
        name = name or f"{utc_now():%Y%m%d}_{uuid4().hex}"
        folder = Path(self._staging_folder.name) / name
        folder.mkdir()
        with ExitStack() as opened:
            opened.callback(self._remove, f"{root}/{name}/")
            opened.callback(shutil.rmtree, folder)
            yield DatabricksLoadArea(self, root, folder, opened)

    def close(self) -> None:
        with suppress(DatabricksError):
            self._connection.close()
        self._staging_folder.cleanup()

    def _remove_leftovers(self, area: DatabricksLoadArea) -> None:
        """Removes what loads that were killed have left; this one holds the lease."""
        self.execute_native(f"DROP SCHEMA IF EXISTS {SCRATCH_SCHEMA} CASCADE")
        self.execute_native(f"CREATE SCHEMA IF NOT EXISTS {SCRATCH_SCHEMA}")
        # The others that may be at work in a folder there, `publish` and `check`, hold no lease but do not take a day.
        yesterday = f"{utc_now() - timedelta(days=1):%Y%m%d}"
        for path in self._entries(area.root):
            day = path.rstrip("/").rpartition("/")[2].partition("_")[0]
            if not day.isdigit() or day < yesterday:
                self._remove(path)

    def _remove(self, path: str) -> None:
        """Removes a file, or the files of a folder, from the volume, as far as it lets: what stays is in nobody's way.
        LIST need not write a folder with a slash: what can't be removed as a file is taken for one."""
        if not path.endswith("/"):
            with suppress(PipelineError):
                self.execute_native(f"REMOVE '{path}'")
                return
        for entry in self._entries(path.rstrip("/")):
            if entry != path:
                self._remove(entry)

    def _entries(self, folder: str) -> list[str]:
        """The paths of what a folder of the volume holds, as LIST writes them; none where it doesn't list it."""
        with suppress(DatabricksError, PipelineError):
            return [path.removeprefix("dbfs:") for path, *_ in self.fetch_native(f"LIST '{folder}'")]
        return []

    @contextmanager
    def _cursor(self, sql: str, parameters: dict[str, Any] | None = None) -> Iterator[Any]:
        cursor = self._open(sql, parameters)
        try:
            yield cursor
        finally:
            with suppress(DatabricksError):
                cursor.close()

    def _open(self, sql: str, parameters: dict[str, Any] | None = None) -> Any:
        cursor = self._connection.cursor()
        try:
            return cursor.execute(sql, parameters)
        except Exception as error:
            with suppress(Exception):
                cursor.close()
            said = f"Databricks refused or lost a statement: {first_line(error)}\nIt was: {sql}"
            raise PipelineError(said) from error


class DatabricksLoadArea(LoadArea):
    """One load: parsed by DuckDB in a scratch file, sent as Parquet, compared in scratch tables on the warehouse."""

    def __init__(self, warehouse: DatabricksWarehouse, root: str, folder: Path, opened: ExitStack) -> None:
        self._warehouse, self._folder, self.root, self.name = warehouse, folder, root, folder.name
        self._local = opened.enter_context(duckdb.connect(str(folder / "parsed.duckdb")))
        self.scratch_tables: list[str] = []

    def parser(self) -> duckdb.DuckDBPyConnection:
        return self._local.cursor()

    def send(self, rows: duckdb.DuckDBPyRelation, name: str) -> str:
        """Sends a relation of any connection, under a name, as `stage` does a table of the parsers."""
        self._local.register(name, rows.to_arrow_reader(FETCHED_ROWS))
        return self.stage(name)

    def stage(self, table: str) -> str:
        """Sends rows as Parquet files to a folder of the volume; returns the name by which SQL reads it."""
        local = self._folder / table
        options = f"FORMAT parquet, COMPRESSION zstd, FILE_SIZE_BYTES '{PART_BYTES}'"
        self._local.execute(f"COPY {table} TO {text_literal(local)} ({options})")
        folder = f"{self.root}/{self.name}/{table}"
        for part in sorted(local.iterdir()):
            self._warehouse.execute_native(f"PUT '{part}' INTO '{folder}/{part.name}' OVERWRITE")
            part.unlink()
        return f'parquet."{folder}"'

    def scratch(self, name: str, query: str) -> str:
        table = f"{SCRATCH_SCHEMA}.{name}_{self.name}"
        self.scratch_tables.append(table)
        self._warehouse.execute(f"CREATE OR REPLACE TABLE {table} AS {query}")
        return table


def to_databricks(sql: str) -> str:
    """SQL of DuckDB's dialect in Databricks'."""
    return sqlglot.transpile(sql, read="duckdb", write="databricks")[0]


def _credentials(settings: DatabricksSettings) -> dict[str, Any]:
    if settings.token:
        return {"access_token": settings.token}
    if not settings.client_id:
        return {"auth_type": "databricks-oauth"}
    from databricks.sdk.core import Config, oauth_service_principal

    config = Config(
        host=f"https://{settings.host}",
        client_id=settings.client_id,
        client_secret=settings.client_secret,
        retry_timeout_seconds=SIGN_IN_SECONDS,
    )
    return {"credentials_provider": lambda: oauth_service_principal(config)}
