"""INCREMENTAL_BY_UNIQUE_KEY for models that name rows which no longer belong: one statement merges and removes.

A model names them by `when_matched (WHEN MATCHED AND <condition on source> THEN DELETE)`. SQLMesh would insert such a
row where none is stored, and takes no `when_matched` on DuckDB. With a removal of its own after the merge, readers
would see rows in between that belong to nobody.
"""

from __future__ import annotations

import typing as t

from sqlglot import exp, parse_one
from sqlmesh.core.engine_adapter.base import MERGE_SOURCE_ALIAS, MERGE_TARGET_ALIAS
from sqlmesh.core.model import Model
from sqlmesh.core.snapshot import evaluator

from materializations.one_merge import OneMergeStrategy, quoted
from scripts.project.internals import use_strategy


def names_removals(model: Model) -> bool:
    """Whether the model says which rows to remove, and asks for nothing else of SQLMesh's merge."""
    whens = _whens(model)
    return model.is_sql and bool(whens) and all(map(_deletes, whens)) and model.merge_filter is None


def belonging(model: Model, incoming: exp.Query) -> exp.Query:
    """The incoming rows that belong into the table."""
    return exp.select("*").from_(incoming.subquery(MERGE_SOURCE_ALIAS)).where(exp.not_(_is_removed(model)))


def merge_statement(model: Model, columns: t.Iterable[str], incoming: exp.Query, table: str) -> exp.Merge:
    """One MERGE that takes in what belongs and deletes what no longer does; repeating it changes nothing."""
    source, target = quoted(MERGE_SOURCE_ALIAS), quoted(MERGE_TARGET_ALIAS)
    names = [quoted(name) for name in columns]
    keys = " AND ".join(f"{target}.{quoted(key.name)} = {source}.{quoted(key.name)}" for key in model.unique_key)
    removed = _is_removed(model).sql(dialect="duckdb")
    merge = parse_one(
        f"""
        MERGE INTO {exp.to_table(table, dialect="duckdb").sql(dialect="duckdb", identify=True)} AS {target}
        USING (SELECT 1) AS {source}
        ON {keys}
        WHEN MATCHED AND {removed} THEN DELETE
        WHEN MATCHED THEN UPDATE SET {", ".join(f"{name} = {source}.{name}" for name in names)}
        WHEN NOT MATCHED AND NOT {removed} THEN INSERT ({", ".join(names)})
            VALUES ({", ".join(f"{source}.{name}" for name in names)})
        """,
        dialect="duckdb",
    )
    assert isinstance(merge, exp.Merge)
    merge.set("using", incoming.subquery(MERGE_SOURCE_ALIAS))
    return merge


class MergeWithRemovalsStrategy(OneMergeStrategy, evaluator.IncrementalByUniqueKeyStrategy):
    """Keeps a table by its key and the rows that no longer belong out of it."""

    def rows(self, model: Model, columns: t.Iterable[str], incoming: exp.Query) -> exp.Query:
        return belonging(model, incoming)

    def merge(self, model: Model, columns: t.Iterable[str], incoming: exp.Query, table: str) -> exp.Merge:
        return merge_statement(model, columns, incoming, table)


def _whens(model: Model) -> list[exp.When]:
    return model.when_matched.expressions if model.when_matched else []


def _deletes(when: exp.When) -> bool:
    """Whether the clause deletes by what the incoming row says, and by nothing else."""
    condition = when.args.get("condition")
    return (
        when.args["matched"]
        and condition is not None
        and when.args["then"].name.upper() == "DELETE"
        and all(column.table == MERGE_SOURCE_ALIAS for column in condition.find_all(exp.Column))
    )


def _is_removed(model: Model) -> exp.Expr:
    conditions = [when.args["condition"] for when in _whens(model)]
    return exp.func("COALESCE", exp.or_(*conditions), exp.false())


use_strategy(MergeWithRemovalsStrategy, serves=names_removals)
