"""Databricks' Thrift protocol: sessions, statements that run in the background, and their results as Arrow."""

from __future__ import annotations

import json
import re
import time
import uuid
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from pathlib import Path
from threading import Lock
from typing import Any

import pyarrow as pa
from databricks.sql.thrift_api.TCLIService import TCLIService
from databricks.sql.thrift_api.TCLIService import ttypes as T
from pyspark.sql import SparkSession
from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.transport.TTransport import TMemoryBuffer, TTransportException

from tests.databricks.server.engine import CATALOG, EngineError, Result, Session
from tests.databricks.server.faults import Faults
from tests.databricks.server.rewrites import rewrite, words
from tests.databricks.server.volumes import Volumes

PROTOCOL = T.TProtocolVersion.SPARK_CLI_SERVICE_PROTOCOL_V8
SUCCESS = T.TStatus(statusCode=T.TStatusCode.SUCCESS_STATUS)
POLL_SECONDS = 5.0  # the client asks again at once, so the server waits before it answers "still running"
CONCURRENT_STATEMENTS = 16

TYPE_IDS = [
    (pa.types.is_boolean, T.TTypeId.BOOLEAN_TYPE),
    (pa.types.is_int8, T.TTypeId.TINYINT_TYPE),
    (pa.types.is_int16, T.TTypeId.SMALLINT_TYPE),
    (pa.types.is_int32, T.TTypeId.INT_TYPE),
    (pa.types.is_int64, T.TTypeId.BIGINT_TYPE),
    (pa.types.is_float32, T.TTypeId.FLOAT_TYPE),
    (pa.types.is_float64, T.TTypeId.DOUBLE_TYPE),
    (pa.types.is_string, T.TTypeId.STRING_TYPE),
    (pa.types.is_binary, T.TTypeId.BINARY_TYPE),
    (pa.types.is_date32, T.TTypeId.DATE_TYPE),
    (pa.types.is_timestamp, T.TTypeId.TIMESTAMP_TYPE),
    (pa.types.is_decimal, T.TTypeId.DECIMAL_TYPE),
    (pa.types.is_null, T.TTypeId.NULL_TYPE),
    (pa.types.is_list, T.TTypeId.ARRAY_TYPE),
    (pa.types.is_map, T.TTypeId.MAP_TYPE),
    (pa.types.is_struct, T.TTypeId.STRUCT_TYPE),
]


class ConnectionDropped(TTransportException):  # type: ignore[misc]
    """The answer must not be sent: Thrift's dispatcher lets only this class of exceptions through."""


class Operation:
    """A statement that runs, or its result until the client closes it."""

    def __init__(self, future: Future[Result]) -> None:
        self.future = future

    def status(self, seconds: float) -> Any:
        """The state of the statement after at most so many seconds of waiting."""
        wait_for([self.future], seconds)
        state, error = T.TOperationState.RUNNING_STATE, None
        if self.future.cancelled():
            state = T.TOperationState.CANCELED_STATE
        elif self.future.done():
            failure = self.future.exception()
            error = EngineError.of(failure) if failure else None
            state = T.TOperationState.ERROR_STATE if error else T.TOperationState.FINISHED_STATE
        return T.TGetOperationStatusResp(
            status=SUCCESS,
            operationState=state,
            hasResultSet=True,
            sqlState=error.sqlstate if error else None,
            errorMessage=str(error) if error else None,
            displayMessage=str(error) if error else None,
        )

    def metadata(self) -> Any:
        """The columns of the result, for the client in both of its forms."""
        result = self.future.result()
        return T.TGetResultSetMetadataResp(
            status=SUCCESS,
            schema=T.TTableSchema([_column(at, field) for at, field in enumerate(result.schema)]),
            resultFormat=T.TSparkRowSetType.ARROW_BASED_SET,
            lz4Compressed=False,
            arrowSchema=result.schema.serialize().to_pybytes(),
            isStagingOperation=result.staging,
        )

    def fetch(self, limits: Any) -> Any:
        """The next rows, within the limits of the request."""
        start, batches, more = self.future.result().take(limits.maxRows, limits.maxBytes or 1 << 62)
        rows = T.TRowSet(start, rows=[], arrowBatches=[T.TSparkArrowBatch(data, count) for data, count in batches])
        return T.TFetchResultsResp(status=SUCCESS, hasMoreRows=more, results=rows, resultSetMetadata=self.metadata())


class Service:
    """The requests of the protocol, one method each, named as Thrift names them."""

    def __init__(self, spark: SparkSession, volumes: Volumes, faults: Faults, log: Path) -> None:
        self._spark, self._volumes, self._faults, self._log = spark, volumes, faults, log
        self._log_lock = Lock()
        self._pool = ThreadPoolExecutor(CONCURRENT_STATEMENTS)
        self._sessions: dict[bytes, Session] = {}
        self._operations: dict[bytes, Operation] = {}
        self._processor = TCLIService.Processor(self)

    def answer(self, request: bytes) -> bytes:
        """Answer one request in binary Thrift; raises ConnectionDropped when there must be no answer."""
        output = TMemoryBuffer()
        unlimited = {"string_length_limit": None, "container_length_limit": None}
        self._processor.process(TBinaryProtocol(TMemoryBuffer(request), **unlimited), TBinaryProtocol(output))
        return bytes(output.getvalue())

    def OpenSession(self, request: Any) -> Any:
        start = request.initialNamespace or T.TNamespace()
        try:
            session = Session(self._spark, request.configuration or {}, start.catalogName, start.schemaName)
        except Exception as error:
            return T.TOpenSessionResp(status=_failed(error), serverProtocolVersion=PROTOCOL)
        handle = T.TSessionHandle(_identifier())
        self._sessions[handle.sessionId.guid] = session
        return T.TOpenSessionResp(SUCCESS, PROTOCOL, handle, initialNamespace=start, canUseMultipleCatalogs=True)

    def CloseSession(self, request: Any) -> Any:
        self._sessions.pop(request.sessionHandle.sessionId.guid, None)
        return T.TCloseSessionResp(status=SUCCESS)

    def ExecuteStatement(self, request: Any) -> Any:
        drop = self._faults.drop_for(request.statement)
        if drop and not drop.executed:
            raise ConnectionDropped(message="dropped before the statement was executed")
        answer = self._start(request, T.TExecuteStatementResp, request.statement, request.parameters or [])
        if drop:
            if operation := self._operations.get(answer.operationHandle.operationId.guid):
                wait_for([operation.future])
            raise ConnectionDropped(message="dropped after the statement was executed")
        return answer

    def GetOperationStatus(self, request: Any) -> Any:
        operation = self._find(request)
        return operation.status(POLL_SECONDS) if operation else T.TGetOperationStatusResp(status=_unknown("operation"))

    def GetResultSetMetadata(self, request: Any) -> Any:
        operation = self._find(request)
        return operation.metadata() if operation else T.TGetResultSetMetadataResp(status=_unknown("operation"))

    def FetchResults(self, request: Any) -> Any:
        operation = self._find(request)
        return operation.fetch(request) if operation else T.TFetchResultsResp(status=_unknown("operation"))

    def CancelOperation(self, request: Any) -> Any:
        guid = request.operationHandle.operationId.guid
        if guid in self._operations and not self._operations[guid].future.cancel():
            self._spark.sparkContext.cancelJobGroup(guid.hex())
        return T.TCancelOperationResp(status=SUCCESS)

    def CloseOperation(self, request: Any) -> Any:
        self._close(request.operationHandle.operationId.guid)
        return T.TCloseOperationResp(status=SUCCESS)

    def GetCatalogs(self, request: Any) -> Any:
        return self._start(request, T.TGetCatalogsResp, f"SELECT '{CATALOG}' AS TABLE_CAT")

    def GetSchemas(self, request: Any) -> Any:
        sql = "SELECT schema_name AS TABLE_SCHEM, catalog_name AS TABLE_CATALOG FROM information_schema.schemata"
        sql += f" WHERE schema_name LIKE {_pattern(request.schemaName)} ORDER BY 1"
        return self._start(request, T.TGetSchemasResp, sql)

    def GetTables(self, request: Any) -> Any:
        sql = (
            "SELECT table_catalog AS TABLE_CAT, table_schema AS TABLE_SCHEM, table_name AS TABLE_NAME, "
            "table_type AS TABLE_TYPE, '' AS REMARKS FROM information_schema.tables "
            f"WHERE table_schema LIKE {_pattern(request.schemaName)} AND table_name LIKE {_pattern(request.tableName)}"
            " ORDER BY 2, 3"
        )
        return self._start(request, T.TGetTablesResp, sql)

    def _find(self, request: Any) -> Operation | None:
        return self._operations.get(request.operationHandle.operationId.guid)

    def _close(self, guid: bytes) -> None:
        if operation := self._operations.pop(guid, None):
            operation.future.add_done_callback(_release)

    def _start(self, request: Any, response: Any, sql: str, parameters: list[Any] | None = None) -> Any:
        """Start a statement; with direct results wait a little and put what there is into the answer."""
        session = self._sessions.get(request.sessionHandle.sessionId.guid)
        if session is None:
            return response(status=_unknown("session"))
        handle = T.TOperationHandle(_identifier(), T.TOperationType.EXECUTE_STATEMENT, True)
        guid = handle.operationId.guid
        operation = Operation(self._pool.submit(self._run, guid.hex(), session, sql, parameters))
        self._operations[guid] = operation
        answer = response(status=SUCCESS, operationHandle=handle)
        if request.getDirectResults is None:
            return answer
        direct = answer.directResults = T.TSparkDirectResults(operation.status(POLL_SECONDS))
        if direct.operationStatus.operationState == T.TOperationState.FINISHED_STATE:
            direct.resultSetMetadata = operation.metadata()
            direct.resultSet = operation.fetch(request.getDirectResults)
        if direct.operationStatus.operationState == T.TOperationState.ERROR_STATE or (
            direct.resultSet and not direct.resultSet.hasMoreRows
        ):
            direct.closeOperation = T.TCloseOperationResp(status=SUCCESS)
            self._close(guid)
        return answer

    def _run(self, job: str, session: Session, sql: str, parameters: list[Any] | None) -> Result:
        begin, error, kinds = time.perf_counter(), None, []
        try:
            self._spark.sparkContext.setJobGroup(job, job, interruptOnCancel=True)
            if answered := self._volumes.answer(words(sql), session):
                kinds.append(answered[0])
                return answered[1]
            statement = rewrite(sql, self._volumes.local_path)
            kinds += statement.kinds
            return session.run(statement.sql, parameters or [], statement.views, statement.only)
        except Exception as failure:
            error = EngineError.of(failure)
            raise error from failure
        finally:
            if parameters is not None:  # a request of the protocol, not a statement, otherwise
                seconds = round(time.perf_counter() - begin, 3)
                line = {"sql": sql, "seconds": seconds, "rewrites": kinds, "error": str(error) if error else None}
                with self._log_lock, self._log.open("a", encoding="utf-8") as log:
                    log.write(json.dumps(line) + "\n")


def _identifier() -> Any:
    return T.THandleIdentifier(guid=uuid.uuid4().bytes, secret=uuid.uuid4().bytes)


def _failed(failure: BaseException) -> Any:
    error = EngineError.of(failure)
    return T.TStatus(T.TStatusCode.ERROR_STATUS, sqlState=error.sqlstate, errorMessage=str(error))


def _release(future: Future[Result]) -> None:
    if not future.cancelled() and not future.exception():
        future.result().close()


def _unknown(what: str) -> Any:
    return T.TStatus(T.TStatusCode.INVALID_HANDLE_STATUS, errorMessage=f"Unknown {what}: closed, or never opened.")


def _pattern(pattern: str | None) -> str:
    return "'" + re.sub(r"(['\\])", r"\\\1", pattern or "%") + "'"


def _column(position: int, field: pa.Field) -> Any:
    type_id = next(type_id for is_type, type_id in TYPE_IDS if is_type(field.type))
    entry = T.TPrimitiveTypeEntry(type_id)
    if type_id == T.TTypeId.DECIMAL_TYPE:
        precision, scale = T.TTypeQualifierValue(field.type.precision), T.TTypeQualifierValue(field.type.scale)
        entry.typeQualifiers = T.TTypeQualifiers({"precision": precision, "scale": scale})
    return T.TColumnDesc(field.name, T.TTypeDesc([T.TTypeEntry(entry)]), position)
