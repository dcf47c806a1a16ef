"""The engine behind the server: Spark with Delta Lake, its sessions, and results as batches of Arrow."""

from __future__ import annotations

import json
import logging
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from threading import RLock
from typing import Any

import delta
import pyarrow as pa
from pyspark.errors.exceptions.captured import unwrap_spark_exception
from pyspark.serializers import read_int
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import to_arrow_schema
from pyspark.sql.types import StructType
from pyspark.util import _create_local_socket

from tests.databricks.server.rewrites import words

CATALOG = "spark_catalog"
IVY_FOLDER = Path(__file__).parents[3] / ".cache" / "ivy"
IN_MEMORY_BYTES = 1 << 20

# Spark brings these itself: without them 7 jars are fetched instead of 33.
JARS_OF_SPARK = (
    "org.slf4j:* org.apache.logging.log4j:* org.apache.hadoop:* org.apache.parquet:* com.fasterxml.jackson.core:* "
    "com.fasterxml.jackson.datatype:* org.roaringbitmap:* org.xerial.snappy:* io.airlift:* com.github.luben:* "
    "commons-pool:* commons-logging:* javax.annotation:* org.locationtech.jts:* com.google.code.findbugs:*"
)
SETTINGS = {
    "spark.jars.ivy": str(IVY_FOLDER),
    "spark.jars.excludes": ",".join(JARS_OF_SPARK.split()),
    "spark.log.level": "ERROR",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.memory": "3g",
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    "spark.sql.sources.default": "delta",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.ansi.enabled": "true",
    # Over a few rows, compiling a query takes longer than running it: without, the tests take a quarter less CPU.
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    # Otherwise every statement over a small table is cut into 50 and 200 tasks and takes seconds.
    "spark.databricks.delta.snapshotPartitions": "2",
    "spark.sql.shuffle.partitions": "2",
    # A large result must consist of many small parts: each goes through the JVM's memory, several times, as a whole.
    "spark.driver.maxResultSize": "0",
    "spark.sql.adaptive.coalescePartitions.initialPartitionNum": "16",
    "spark.sql.adaptive.coalescePartitions.parallelismFirst": "false",
    "spark.sql.adaptive.advisoryPartitionSizeInBytes": "16m",
    "spark.sql.files.maxPartitionBytes": "8m",
    "spark.hadoop.parquet.block.size": str(8 << 20),
    # Delta's parser knows nothing of Spark 4.1's new way to bind parameters and loses them; the old way passes it.
    "spark.sql.legacy.parameterSubstitution.constantsOnly": "true",
}
# Short statements gain nothing from the second compiler and parallel collectors: without, the tests take half the CPU.
# Its code cache is 48 MB otherwise, and full after some minutes: what is in use is then compiled again and again.
# A heap that begins small is collected all the time.
# Out of memory, Spark would wait forever for a thread that is gone.
JAVA_OPTIONS = (
    "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=256m -XX:+UseSerialGC -Xms1536m -Xmn768m "
    "-XX:+ExitOnOutOfMemoryError"
)
# What a client may set for its session that means nothing here.
IGNORED_SETTINGS = re.compile(r"spark\.(sql\.)?thriftserver\..*|query_tags|statement_timeout|use_cached_result", re.I)

# A number of each type as a literal: 5L is a BIGINT.
SUFFIXES = {"TINYINT": "Y", "SMALLINT": "S", "INT": "", "BIGINT": "L", "FLOAT": "F", "DOUBLE": "D", "DECIMAL": "BD"}


class EngineError(Exception):
    """A statement failed: the message as the client shall see it, and its SQLSTATE."""

    def __init__(self, message: str, sqlstate: str) -> None:
        super().__init__(message if "SQLSTATE" in message else f"{message} SQLSTATE: {sqlstate}")
        self.sqlstate = sqlstate

    @classmethod
    def of(cls, error: BaseException) -> EngineError:
        """Any exception as this one; what carries no SQLSTATE of its own gets XX000 (internal error)."""
        if isinstance(error, EngineError):
            return error
        sqlstate = error.getSqlState() if hasattr(error, "getSqlState") else None
        return cls(str(error) or type(error).__name__, sqlstate or "XX000")


class Result:
    """The rows of a statement, in order, as serialised Arrow batches that spill to a file beyond 1 MiB.

    Attributes:
        schema: Arrow schema of the rows; without fields when the statement returns none.
        staging: Whether the one row tells the client to move a file.
    """

    def __init__(self, schema: pa.Schema, batches: Iterable[pa.RecordBatch] = (), staging: bool = False) -> None:
        self.schema = schema
        self.staging = staging
        self._file = tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES)  # noqa: SIM115 - lives as long as the result
        self._index: list[tuple[int, int, int]] = []
        self._next = 0
        for batch in batches:
            data = batch.serialize()
            self._index.append((self._file.tell(), data.size, batch.num_rows))
            self._file.write(data)

    @classmethod
    def of_rows(cls, columns: dict[str, list[Any]], staging: bool = False) -> Result:
        """A result of Python values, column by column."""
        table = pa.table(columns)
        return cls(table.schema, table.to_batches(), staging)

    def order(self, order: list[int]) -> None:
        """Put the batches into the order of the query; `order` lists them by the position in which they came."""
        self._index = [self._index[position] for position in order if self._index[position][2]]

    def take(self, max_rows: int, max_bytes: int) -> tuple[int, list[tuple[bytes, int]], bool]:
        """The next batches, at least one and then at most so many rows and bytes: first row, batches, more to come."""
        start = sum(rows for _, _, rows in self._index[: self._next])
        taken: list[tuple[bytes, int]] = []
        while self._next < len(self._index):
            offset, size, rows = self._index[self._next]
            if taken and (max_rows < rows or max_bytes < size):
                break
            max_rows, max_bytes = max_rows - rows, max_bytes - size
            self._file.seek(offset)
            taken.append((self._file.read(size), rows))
            self._next += 1
        return start, taken, self._next < len(self._index)

    def close(self) -> None:
        """Let go of the rows."""
        self._file.close()


class Session:
    """What one connection sees: its own settings, current schema and temporary views over the shared catalog."""

    def __init__(self, spark: SparkSession, settings: dict[str, str], catalog: str | None, schema: str | None) -> None:
        self.spark = spark.newSession()
        self._lock = RLock()
        for key, value in settings.items():
            if key.lower() == "timezone":
                self.spark.conf.set("spark.sql.session.timeZone", value)
            elif key.startswith("spark.sql.") and not IGNORED_SETTINGS.fullmatch(key):
                self.spark.conf.set(key, value)
            elif not IGNORED_SETTINGS.fullmatch(key):
                raise EngineError(f"[CONFIG_NOT_AVAILABLE] Configuration {key} is not available.", "42K0I")
        if catalog:
            self.spark.sql(f"SET CATALOG `{catalog}`")
        if schema:
            self.spark.sql(f"USE SCHEMA `{schema}`")

    def run(self, sql: str, parameters: list[Any], views: list[str], only: dict[str, str]) -> Result:
        """Run one statement to its end.

        `parameters` are the client's Thrift parameters, named or in the order of the question marks. `views` names
        views of the information schema that the statement reads; `only` restricts them to a `table_schema` and
        `table_name`.
        """
        if parameters and not parameters[0].name:
            sql = _named(sql, parameters)
        arguments = {parameter.name: _literal(parameter) for parameter in parameters} or None
        if not views:
            return _collect(self.spark.sql(sql, arguments))
        with self._lock:
            try:
                for view in views:
                    table = pa.Table.from_pylist(list(self._information(view, only)), INFORMATION_SCHEMA[view])
                    self.spark.createDataFrame(table).createOrReplaceTempView(view)
                return _collect(self.spark.sql(sql, arguments))
            finally:
                for view in views:
                    self.spark.catalog.dropTempView(view)

    def _information(self, view: str, only: dict[str, str]) -> Iterator[dict[str, Any]]:
        catalog = self.spark._jsparkSession.sessionState().catalog().externalCatalog()
        for schema in catalog.listDatabases().mkString("\n").splitlines():
            if view == "schemata":
                yield {"catalog_name": CATALOG, "schema_name": schema}
                continue
            if schema != only.get("table_schema", schema):
                continue
            for name in catalog.listTables(schema).mkString("\n").splitlines():
                if name != only.get("table_name", name):
                    continue
                row = {"table_catalog": CATALOG, "table_schema": schema, "table_name": name}
                with suppress(Exception):  # dropped by another connection in the meantime
                    stored = catalog.getTable(schema, name)
                    if view == "tables":
                        yield row | {"table_type": stored.tableType().name()}
                        continue
                    if view == "views":
                        if stored.tableType().name() == "VIEW":
                            yield row | {"view_definition": stored.viewText().get()}
                        continue
                    is_view = stored.tableType().name() == "VIEW"  # Delta keeps a table's columns in its own log
                    columns = StructType.fromJson(json.loads(stored.schema().json())) if is_view else None
                    columns = columns or self.spark.table(f"`{schema}`.`{name}`").schema
                    for position, column in enumerate(columns):
                        yield row | {
                            "column_name": column.name,
                            "ordinal_position": position,
                            "is_nullable": "YES" if column.nullable else "NO",
                            "full_data_type": column.dataType.simpleString(),
                            "comment": column.metadata.get("comment"),
                        }


def _texts(*names: str) -> list[tuple[str, pa.DataType]]:
    return [(name, pa.string()) for name in names]


INFORMATION_SCHEMA = {
    "schemata": pa.schema(_texts("catalog_name", "schema_name")),
    "tables": pa.schema(_texts("table_catalog", "table_schema", "table_name", "table_type")),
    "views": pa.schema(_texts("table_catalog", "table_schema", "table_name", "view_definition")),
    "columns": pa.schema(
        [
            *_texts("table_catalog", "table_schema", "table_name", "column_name"),
            *_texts("is_nullable", "full_data_type", "comment"),
            ("ordinal_position", pa.int32()),
        ]
    ),
}


def start(folder: Path) -> tuple[SparkSession, Callable[[], None]]:
    """Start Spark with everything that it writes under `folder`; returns it and what stops it and its JVM."""
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    logging.getLogger("SQLQueryContextLogger").setLevel(logging.CRITICAL)
    tempfile.tempdir = str(folder)
    builder = SparkSession.builder.master("local[2]").appName("rehearsal")
    for key, value in SETTINGS.items():
        builder = builder.config(key, value)
    builder = builder.config("spark.sql.warehouse.dir", str(folder / "warehouse"))
    builder = builder.config("spark.local.dir", str(folder / "local"))
    builder = builder.config("spark.driver.extraJavaOptions", f"-Djava.io.tmpdir={folder} {JAVA_OPTIONS}")
    spark = delta.configure_spark_with_delta_pip(builder).getOrCreate()
    process = spark.sparkContext._gateway.proc

    def stop() -> None:
        spark.stop()
        process.stdin.close()
        process.wait(timeout=30)

    return spark, stop


def _named(sql: str, parameters: list[Any]) -> str:
    """Name the question marks and their parameters: Spark's old way to bind loses the order of more than four."""
    marks = [word for word in words(sql) if word.text == "?"]
    for number, (mark, parameter) in reversed(list(enumerate(zip(marks, parameters, strict=False)))):
        parameter.name = f"parameter_{number}"
        sql = f"{sql[: mark.start]}:{parameter.name}{sql[mark.end :]}"
    return sql


def _literal(parameter: Any) -> Any:
    """A parameter of the client as a literal of Spark: a CAST, as the service does it, is refused by Spark."""
    kind, value = parameter.type.partition("(")[0], parameter.value.stringValue if parameter.value else None
    if kind == "VOID" or value is None:
        return F.expr("NULL")
    if kind == "STRING":
        return F.lit(value)
    if kind == "BOOLEAN":
        return F.lit(value.lower() == "true")
    if kind in SUFFIXES:
        return F.expr(value + SUFFIXES[kind])
    if kind in ("DATE", "TIMESTAMP", "TIMESTAMP_NTZ"):
        return F.expr(f"{kind}'{value}'")
    raise EngineError(f"[UNSUPPORTED_FEATURE] Parameters of type {kind} are not supported by this server.", "0A000")


def _collect(frame: DataFrame) -> Result:
    """All rows of a query, streamed batch by batch from the JVM into the result's file."""
    if not frame.columns:
        return Result(pa.schema([]))
    port, secret, server = frame._jdf.collectAsArrowToPython()
    result = None
    try:
        stream = _create_local_socket((port, secret))
        reader = pa.ipc.open_stream(stream)
        result = Result(reader.schema, reader)
        count = read_int(stream)  # -1: the query failed, and the server below says why
        result.order([read_int(stream) for _ in range(count)])
    except (pa.ArrowInvalid, EOFError):
        result = None
    finally:
        with unwrap_spark_exception():
            server.getResult()
    return result or Result(to_arrow_schema(frame.schema))
