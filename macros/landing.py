"""The tables of the landing zone: written by ingest, read by `source`, never dropped by SQLMesh."""

from __future__ import annotations

from contextlib import suppress

from sqlglot import exp, parse_one
from sqlmesh import macro
from sqlmesh.core.macros import MacroEvaluator


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
        from scripts.warehouse.landing_tables import landing_statements
        from scripts.warehouse.ownership import refuse_foreign_objects

        tables = AdapterTables(evaluator.engine_adapter)
        refuse_foreign_objects(tables, load_settings(), evaluator.this_env)
        return [parse_one(statement, dialect="duckdb") for statement in landing_statements(tables.columns_of)]
    return []
