"""Conditions on versions and windows, written once (docs/design.md, "History")."""

from __future__ import annotations

from sqlglot import exp
from sqlmesh import macro
from sqlmesh.core.macros import MacroEvaluator


@macro()
def holds_at(evaluator: MacroEvaluator, version: exp.Expr, moment: exp.Expr) -> str:
    """Whether a version (a table alias) holds at a moment: from its begin (inclusive) until before its end."""
    alias = version.name
    at = moment.sql(dialect=evaluator.dialect)
    return f"({alias}.valid_from_at <= {at} AND {at} < COALESCE({alias}.valid_to_at, TIMESTAMP '9999-12-31'))"


@macro()
def version_changed_in_window(evaluator: MacroEvaluator) -> str:
    """Whether a version began or ended in the time window of this run."""
    window = f"BETWEEN '{evaluator.locals['start_ts']}' AND '{evaluator.locals['end_ts']}'"
    return f"(valid_from_at {window} OR valid_to_at {window})"
