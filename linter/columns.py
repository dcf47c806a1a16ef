"""Rules about columns: their names and their types (docs/design.md, "Names")."""

from __future__ import annotations

import re

from sqlglot import exp
from sqlmesh.core.dialect import MacroFunc
from sqlmesh.core.linter.rule import Rule, RuleViolation
from sqlmesh.core.model import Model, SqlModel

SNAKE_CASE = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")

# Of each type that has them: the suffixes of its columns. DuckDB's TIMESTAMP, without zone, is sqlglot's TIMESTAMPNTZ.
SUFFIXES_OF_TYPE = {
    exp.DType.BOOLEAN: ("_flag",),
    exp.DType.TIMESTAMPNTZ: ("_at",),
    exp.DType.DATE: ("_date",),
    exp.DType.DECIMAL: ("_amount", "_pct"),
}
TYPE_OF_SUFFIX = {suffix: kind for kind, suffixes in SUFFIXES_OF_TYPE.items() for suffix in suffixes} | {
    "_count": exp.DType.BIGINT
}
INEXACT_TYPES = {exp.DType.FLOAT, exp.DType.DOUBLE}


def _sql_type(kind: exp.DataType | exp.DType) -> str:
    return exp.DataType.build(kind).sql(dialect="duckdb")


def _projections(query: object) -> list[exp.Expr]:
    """The outer projections of a query as they are written, of every branch of a UNION; stars are left out."""
    while isinstance(query, exp.Subquery):
        query = query.this
    if isinstance(query, exp.SetOperation):
        return [*_projections(query.left), *_projections(query.right)]
    if not isinstance(query, exp.Query):
        return []
    return [projection for projection in query.selects if not projection.is_star]


class SnakeCase(Rule):
    """Models and columns are in snake_case.

    Reason to flag: the engines differ in how they fold the case of a name, so a capital letter means one name on DuckDB
    and another on Databricks.
    How to remedy: rename it: lower-case words of letters and digits, joined by single underscores.
    """

    def check_model(self, model: Model) -> list[RuleViolation]:
        # As written, since SQLMesh folds the case of what it reads.
        columns = (
            [projection.output_name for projection in _projections(model.query)]
            if isinstance(model, SqlModel)
            else list(model.columns_to_types or {})
        )
        table = exp.to_table(model.name, dialect=model.dialect).name
        violations = []
        if not SNAKE_CASE.fullmatch(table):
            violations.append(self.violation(f"Model {model.name}: '{table}' is not snake_case. Rename the model."))
        violations.extend(
            self.violation(f"Model {model.name}: column '{column}' is not snake_case. Rename the column.")
            for column in dict.fromkeys(columns)
            if column and not SNAKE_CASE.fullmatch(column)
        )
        return violations


class SuffixMatchesType(Rule):
    """A column's suffix and its type say the same.

    Reason to flag: exports, reports and audits pick columns by suffix, and readers trust it: a `_flag` is a BOOLEAN, an
    `_at` a TIMESTAMP without zone, a `_date` a DATE, an `_amount` or `_pct` a DECIMAL, a `_count` a BIGINT, and the
    other way round. Money and rates are never floating point.
    How to remedy: rename the column, or cast it to the type that its suffix stands for.
    """

    def check_model(self, model: Model) -> list[RuleViolation]:
        return [
            self.violation(f"Model {model.name}: column '{column}' {fault}")
            for column, kind in (model.columns_to_types or {}).items()
            if (fault := self._fault(column, kind))
        ]

    def _fault(self, column: str, kind: exp.DataType) -> str | None:
        if kind.this in INEXACT_TYPES:
            return f"is a {_sql_type(kind)}, which is inexact. Cast it to DECIMAL."
        suffixes = SUFFIXES_OF_TYPE.get(kind.this, ())
        if suffixes and not column.endswith(suffixes):
            return f"is a {_sql_type(kind)}, so its name ends in {' or '.join(suffixes)}. Rename it, or cast it."
        for suffix, expected in TYPE_OF_SUFFIX.items():
            if column.endswith(suffix) and kind.this != expected:
                types = f"a {_sql_type(expected)}, not a {_sql_type(kind)}"
                return f"ends in {suffix}, so it is {types}. Cast it, or rename it."
        return None


class DeclaredTypes(Rule):
    """Every projection of a model is cast.

    Reason to flag: types are the contract of a table. One that is inferred changes with the query, or with the engine,
    and nobody notices.
    How to remedy: cast the outer projection, `expression::TYPE AS name`, in every branch of a UNION.
    """

    def check_model(self, model: Model) -> list[RuleViolation]:
        if not isinstance(model, SqlModel):
            return []
        projections = _projections(model.query)
        if any(isinstance(projection, MacroFunc) for projection in projections):
            projections = _projections(model.render_query())
        inferred = [
            projection.output_name or projection.sql(dialect=model.dialect)
            for projection in projections
            if not isinstance(projection.unalias(), exp.Cast)
        ]
        return [
            self.violation(f"Model {model.name}: column '{column}' has no declared type. Cast it in the outer SELECT.")
            for column in inferred
        ]
