"""The project's strategy for SCD_TYPE_2 kinds beside SQLMesh's own, on the same history and the same incoming rows.

Both get only the rows of the run's window. SQLMesh's own is spared the reading of all current rows that it would do in
a project, so the comparison is in its favour.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from time import perf_counter
from typing import Any

import duckdb
from sqlglot import exp, parse_one
from sqlmesh.core.dialect import parse
from sqlmesh.core.engine_adapter import create_engine_adapter
from sqlmesh.core.engine_adapter.base import EngineAdapter
from sqlmesh.core.model import Model, load_sql_based_model
from sqlmesh.core.snapshot.evaluator import SCDType2Strategy

from benchmarks.timing import Comparison
from materializations.scd_type_2 import ChangeOnlySCDType2Strategy
from scripts.errors import PipelineError

FIRST_AT = datetime(2024, 1, 15, 2)
SECOND_AT = FIRST_AT + timedelta(days=1)
# One key in so many changes; None: nothing does.
CASES = {"nothing changed": None, "10 % changed": 10}
OWN, SQLMESH = "project", "sqlmesh"
STRATEGIES = {OWN: ChangeOnlySCDType2Strategy, SQLMESH: SCDType2Strategy}


def compare_history(keys: int, repeats: int) -> list[Comparison]:
    """Measures both strategies on a history of one version per key, by turns, each time on a fresh copy.

    Raises:
        PipelineError: They do not leave the same versions.
    """
    adapter = create_engine_adapter(duckdb.connect, "duckdb")
    model = _model()
    adapter.execute(f"CREATE TABLE first_version AS {_customers(keys, FIRST_AT)}")
    comparisons = []
    for name, every in CASES.items():
        adapter.execute(f"CREATE OR REPLACE TABLE incoming AS {_customers(keys, SECOND_AT, every)}")
        seconds: dict[str, list[float]] = {strategy: [] for strategy in STRATEGIES}
        for repeat in range(repeats):
            order = list(STRATEGIES) if repeat % 2 else list(reversed(STRATEGIES))
            for strategy in order:
                seconds[strategy].append(_measure(adapter, model, strategy))
        _check_same(adapter)
        comparisons.append(Comparison(name, seconds[OWN], "SQLMesh's own", seconds[SQLMESH]))
    adapter.close()
    return comparisons


def _measure(adapter: EngineAdapter, model: Model, strategy: str) -> float:
    table = f"history_by_{strategy}"
    adapter.execute(
        f"CREATE OR REPLACE TABLE {table} AS "
        "SELECT *, loaded_at AS valid_from_at, CAST(NULL AS TIMESTAMP) AS valid_to_at FROM first_version"
    )
    materialization: Any = STRATEGIES[strategy]
    incoming = parse_one("SELECT * FROM incoming", dialect="duckdb", into=exp.Select)
    started = perf_counter()
    materialization(adapter).insert(
        table, incoming, model, is_first_insert=False, render_kwargs={}, execution_time=SECOND_AT + timedelta(hours=1)
    )
    return perf_counter() - started


def _check_same(adapter: EngineAdapter) -> None:
    columns = "customer_id, customer_name, has_loan_flag, loaded_at, valid_from_at, valid_to_at"
    own, sqlmesh = (f"SELECT {columns} FROM history_by_{strategy}" for strategy in (OWN, SQLMESH))
    different = adapter.fetchone(
        f"SELECT COUNT(*) FROM (({own} EXCEPT ALL {sqlmesh}) UNION ALL ({sqlmesh} EXCEPT ALL {own}))"
    )
    if different is None or different[0]:
        raise PipelineError(f"The two strategies left different histories: {different} versions differ.")


def _customers(keys: int, loaded_at: datetime, every: int | None = 1) -> str:
    """Query of the customers whose number `every` divides; None: of none."""
    return (
        f"SELECT number AS customer_id, 'Customer ' || number || ' of {loaded_at:%d}' AS customer_name, "
        f"number % 3 = 0 AS has_loan_flag, FALSE AS is_deleted_flag, TIMESTAMP '{loaded_at}' AS loaded_at "
        f"FROM range(1, {keys + 1}) AS key(number) WHERE {f'number % {every} = 0' if every else 'FALSE'}"
    )


def _model() -> Model:
    return load_sql_based_model(
        parse(
            """
            MODEL (
              name benchmark.history,
              dialect duckdb,
              kind SCD_TYPE_2_BY_TIME (
                unique_key customer_id,
                updated_at_name loaded_at,
                updated_at_as_valid_from TRUE,
                valid_from_name valid_from_at,
                valid_to_name valid_to_at,
                time_data_type TIMESTAMP
              )
            );
            SELECT
              customer_id::BIGINT, customer_name::TEXT, has_loan_flag::BOOLEAN, is_deleted_flag::BOOLEAN,
              loaded_at::TIMESTAMP
            FROM incoming
            """
        )
    )
