"""History by SCD_TYPE_2 kinds with `is_deleted_flag`: records changes, nothing else (docs/design.md, "History").

SQLMesh's own rewrites the whole history at every run, fills a NULL of a closed version from the next one, and dates a
deletion by the run instead of the load. This one issues a single MERGE of the changed keys.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from sqlglot import exp, parse_one
from sqlmesh.core.model import Model, SCDType2ByColumnKind, SCDType2ByTimeKind
from sqlmesh.core.snapshot import evaluator

from materializations.one_merge import OneMergeStrategy, quoted
from scripts.project.internals import use_strategy

DELETED = "is_deleted_flag"


@dataclass(frozen=True)
class HistoryColumns:
    """Roles of the columns of a history table; names are unquoted.

    Attributes:
        keys: Columns that identify an entity.
        content: Columns of which a change opens a new version.
        stored: All columns of the table, in its order.
        happened_at: Time of an incoming row; a version that the row opens is valid from it.
        valid_from: Begin of a version (inclusive).
        valid_to: End of a version (exclusive), NULL while it is open.
    """

    keys: tuple[str, ...]
    content: tuple[str, ...]
    stored: tuple[str, ...]
    happened_at: str
    valid_from: str
    valid_to: str

    @property
    def received(self) -> tuple[str, ...]:
        """Columns that the model's query brings: all but the managed ones."""
        return tuple(c for c in self.stored if c not in (self.valid_from, self.valid_to))

    @classmethod
    def of(cls, model: Model, stored: t.Iterable[str]) -> HistoryColumns:
        """Reads the roles off a model of kind SCD_TYPE_2_BY_TIME or SCD_TYPE_2_BY_COLUMN.

        Raises:
            ValueError: The model names no time column.
        """
        kind = model.kind
        assert isinstance(kind, (SCDType2ByTimeKind, SCDType2ByColumnKind))
        if not kind.updated_at_name:
            raise ValueError(f"{model.name}: set updated_at_name, the time of a row, in the model's kind.")
        stored = tuple(stored)
        keys = tuple(key.name for key in model.unique_key)
        managed = {
            *keys,
            DELETED,
            kind.updated_at_name.name,
            kind.valid_from_name.name,
            kind.valid_to_name.name,
        }
        content = tuple(c for c in stored if c not in managed)
        if isinstance(kind, SCDType2ByColumnKind) and "*" not in (listed := _names(kind.columns)):
            content = listed
        return cls(keys, content, stored, kind.updated_at_name.name, kind.valid_from_name.name, kind.valid_to_name.name)


def versions_query(columns: HistoryColumns, incoming: exp.Query, history: exp.Table | None) -> exp.Query:
    """What a table of versions must take in: new versions, and the ends of open ones.

    The rows later than a key's last recorded event, preceded by its open version, are put in order. A row that changes
    nothing against the one before it is dropped; each row left that is not a removal opens a version, which ends where
    the next one begins.

    Args:
        columns: Roles of the columns.
        incoming: Query of rows with the columns `columns.received`; any number per key, any order.
        history: The table as it stands, or None to build it from nothing.

    Returns:
        Query of the columns `columns.stored` and `_is_stored`: true on a version that the table holds already and that
        must be ended there, false on one to insert.
    """
    c = columns
    happened_at, valid_from, valid_to = map(quoted, (c.happened_at, c.valid_from, c.valid_to))
    received = ", ".join(map(quoted, c.received))
    if history is None:
        event = f"SELECT {received}, FALSE AS _is_stored FROM incoming"
    else:
        table = history.sql(dialect="duckdb", identify=True)
        stored_row = ", ".join(
            f"stored.{valid_from}" if name == c.happened_at else f"stored.{quoted(name)}" for name in c.received
        )
        event = f"""
            SELECT {", ".join(f"incoming.{quoted(name)}" for name in c.received)}, FALSE AS _is_stored
            FROM incoming
            LEFT JOIN (
                SELECT {", ".join(f"stored.{quoted(k)}" for k in c.keys)},
                    MAX(COALESCE(stored.{valid_to}, stored.{valid_from})) AS _happened_at
                FROM {table} AS stored
                SEMI JOIN incoming ON {_equal(c.keys, "stored", "incoming")}
                GROUP BY {", ".join(f"stored.{quoted(k)}" for k in c.keys)}
            ) AS recorded ON {_equal(c.keys, "incoming", "recorded")}
            WHERE recorded._happened_at IS NULL OR incoming.{happened_at} > recorded._happened_at
            UNION ALL
            SELECT {stored_row}, TRUE AS _is_stored
            FROM {table} AS stored
            SEMI JOIN incoming ON {_equal(c.keys, "stored", "incoming")}
            WHERE stored.{valid_to} IS NULL"""
    keys = ", ".join(map(quoted, c.keys))
    in_order = f"OVER (PARTITION BY {keys} ORDER BY {happened_at})"
    compared = (DELETED, *c.content)
    before = ", ".join(f"LAG({quoted(name)}) {in_order} AS {quoted('_before_' + name)}" for name in compared)
    differs = " OR ".join(f"{quoted(name)} IS DISTINCT FROM {quoted('_before_' + name)}" for name in compared)
    version = ", ".join(
        {
            c.valid_from: f"{happened_at} AS {valid_from}",
            c.valid_to: f"_ends_at AS {valid_to}",
            DELETED: f"COALESCE(_ends_by_removal, FALSE) AS {quoted(DELETED)}",
        }.get(name, quoted(name))
        for name in c.stored
    )
    query = parse_one(
        f"""
        WITH event AS ({event}),
        compared AS (SELECT *, {before} FROM event),
        change AS (
            SELECT {received}, _is_stored FROM compared
            WHERE CASE WHEN {quoted("_before_" + DELETED)} IS NULL THEN NOT {quoted(DELETED)} ELSE {differs} END
        ),
        bounded AS (
            SELECT *,
                LEAD({happened_at}) {in_order} AS _ends_at,
                LEAD({quoted(DELETED)}) {in_order} AS _ends_by_removal
            FROM change
        )
        SELECT {version}, _is_stored FROM bounded
        WHERE NOT {quoted(DELETED)} AND (NOT _is_stored OR _ends_at IS NOT NULL)
        """,
        dialect="duckdb",
    )
    assert isinstance(query, exp.Select)
    query.args["with_"].set(
        "expressions",
        [exp.CTE(this=incoming.copy(), alias=exp.to_identifier("incoming")), *query.ctes],
    )
    return query


def merge_statement(columns: HistoryColumns, incoming: exp.Query, history: exp.Table) -> exp.Expr:
    """One MERGE that ends open versions and inserts new ones; repeating it changes nothing.

    A version to insert has NULL in the matching columns, so it can match none.
    """
    c = columns
    table = history.sql(dialect="duckdb", identify=True)
    match_keys = ", ".join(f"CASE WHEN _is_stored THEN {quoted(k)} END AS {quoted('_match_' + k)}" for k in c.keys)
    merge = parse_one(
        f"""
        MERGE INTO {table} AS stored
        USING (SELECT *, {match_keys} FROM version) AS incoming
        ON {" AND ".join(f"stored.{quoted(k)} = incoming.{quoted('_match_' + k)}" for k in c.keys)}
            AND stored.{quoted(c.valid_to)} IS NULL
        WHEN MATCHED THEN UPDATE SET
            {quoted(c.valid_to)} = incoming.{quoted(c.valid_to)}, {quoted(DELETED)} = incoming.{quoted(DELETED)}
        WHEN NOT MATCHED THEN INSERT ({", ".join(map(quoted, c.stored))})
            VALUES ({", ".join(f"incoming.{quoted(name)}" for name in c.stored)})
        """,
        dialect="duckdb",
    )
    source = merge.args["using"].this
    source.set("from_", exp.From(this=versions_query(c, incoming, history).subquery("version")))
    return merge


class ChangeOnlySCDType2Strategy(OneMergeStrategy, evaluator.SCDType2Strategy):
    """Keeps SCD_TYPE_2 tables by what changed: NULL-exact, dated by the load."""

    def rows(self, model: Model, columns: t.Iterable[str], incoming: exp.Query) -> exp.Query:
        roles = HistoryColumns.of(model, columns)
        versions = versions_query(roles, incoming, None).subquery("version")
        return exp.select(*(exp.column(name, quoted=True) for name in roles.stored)).from_(versions)

    def merge(self, model: Model, columns: t.Iterable[str], incoming: exp.Query, table: str) -> exp.Expr:
        return merge_statement(HistoryColumns.of(model, columns), incoming, exp.to_table(table, dialect="duckdb"))


def tells_removals(model: Model) -> bool:
    """Whether the model keeps a history and says which rows stand for keys that left."""
    return model.is_sql and model.kind.is_scd_type_2 and DELETED in (model.columns_to_types or {})


def _names(columns: exp.Star | list[exp.Expr]) -> tuple[str, ...]:
    return tuple(column.name for column in (columns if isinstance(columns, list) else [columns]))


def _equal(names: t.Iterable[str], left: str, right: str) -> str:
    return " AND ".join(f"{left}.{quoted(name)} = {right}.{quoted(name)}" for name in names)


use_strategy(ChangeOnlySCDType2Strategy, serves=tells_removals)
