"""The tables of the landing zone: written by ingest, read by `source`, never dropped by SQLMesh."""

from __future__ import annotations

from contextlib import suppress

from sqlglot import exp, parse_one
from sqlmesh import macro
from sqlmesh.core.macros import MacroEvaluator

from scripts.warehouse.landing_tables import LANDING_TABLES


@macro()
def create_landing(evaluator: MacroEvaluator) -> list[exp.Expr]:
    """Statements that make sure of the landing zone, so that a plan works before the first ingest.

    Raises:
        ForeignObjectsError: The database holds somebody else's tables, which the plan or run would replace.
    """
    # SQLMesh stores this text with each environment, for runs by whatever version of the project comes then.
    with suppress(ImportError):
        from scripts.settings import load_settings
        from scripts.warehouse.beside_sqlmesh import AdapterTables
        from scripts.warehouse.ownership import refuse_foreign_objects

        refuse_foreign_objects(AdapterTables(evaluator.engine_adapter), load_settings(), evaluator.this_env)
    return [
        parse_one("CREATE SCHEMA IF NOT EXISTS landing", dialect="duckdb"),
        *(
            parse_one(f"CREATE TABLE IF NOT EXISTS landing.{name} ({columns})", dialect="duckdb")
            for name, columns in LANDING_TABLES.items()
        ),
    ]
