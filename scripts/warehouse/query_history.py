"""Which statement took how long, and under which id the warehouse's query history has it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any

from databricks.sql.client import Cursor

from scripts.results import StatementOutcome

SHOWN_CHARACTERS = 200
# SQLMesh's physical tables: sqlmesh__marts.marts__account_summary__1234567890
_PHYSICAL_TABLE = re.compile(r"sqlmesh__\w+`?\.`?(\w+?)__(\w+)__\d+")


@contextmanager
def recorded_statements(outcomes: list[StatementOutcome]) -> Iterator[None]:
    """Adds every statement that the Databricks connector runs meanwhile, SQLMesh's too, to `outcomes`."""
    original = Cursor.execute

    def execute(cursor: Cursor, operation: str, *args: Any, **kwargs: Any) -> Cursor:
        started = perf_counter()
        try:
            answered: Cursor = original(cursor, operation, *args, **kwargs)
            return answered
        finally:
            outcomes.append(_outcome(operation, perf_counter() - started, cursor.query_id))

    Cursor.execute = execute  # type: ignore[method-assign]
    try:
        yield
    finally:
        Cursor.execute = original  # type: ignore[method-assign]


def _outcome(sql: str, seconds: float, query_id: str | None) -> StatementOutcome:
    table = _PHYSICAL_TABLE.search(sql)
    return StatementOutcome(
        model=f"{table[1]}.{table[2]}" if table else None,
        seconds=seconds,
        query_id=query_id or "",
        sql=" ".join(sql.split())[:SHOWN_CHARACTERS],
    )
