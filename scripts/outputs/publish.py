"""The exported marts as tables for everybody, in DATABRICKS_SCHEMA."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import NoReturn

from scripts.errors import PipelineError, SettingsError
from scripts.outputs.marts import Mart
from scripts.settings import DatabricksSettings, Settings, databricks_of
from scripts.sql import text_literal
from scripts.warehouse import Warehouse
from scripts.warehouse.databricks import DatabricksWarehouse

# The table property by which a published table is known again; its value is the mart.
MARK = "lending_club.published_from"


def check_target(
    target: DatabricksWarehouse, databricks: DatabricksSettings, marts: Sequence[Mart], *, replace: bool
) -> None:
    """Makes sure that publishing finds nothing in its way; it takes no notice of tables of other names.

    A table is ours when it bears the mark that publishing leaves. The first version of this project left none: a table
    without it is ours, too, where its columns have exactly the mart's names and types.

    Raises:
        SettingsError: A table of a mart's name is not ours (`replace`: it may be somebody else's), or is nothing that
            could be replaced in one step.
    """
    names = ", ".join(text_literal(mart.name) for mart in marts)
    stored = target.fetch(
        "SELECT table_name, table_type FROM information_schema.tables "
        f"WHERE table_schema = {text_literal(databricks.schema.lower())} AND table_name IN ({names})"
    )
    kinds = dict(stored)
    for mart in marts:
        if mart.name in kinds:
            _check_table(target, databricks, mart, kinds[mart.name], replace)


def publish_marts(
    warehouse: Warehouse, settings: Settings, marts: Sequence[Mart], *, replace: bool = False
) -> dict[str, int]:
    """Replaces the published tables, each atomically, by the marts of a gateway; returns their rows as counted after.

    On the databricks gateway they are made where the marts are; those of a DuckDB database go through the volume.

    Raises:
        PipelineError: Databricks refused a statement, or a table does not hold the mart's rows and money.
        SettingsError: Databricks is not configured, or something else is in the tables' place (see `check_target`).
    """
    databricks = databricks_of(settings)
    tables = {f"{databricks.schema}.{mart.name}": mart for mart in marts}
    if isinstance(warehouse, DatabricksWarehouse):
        check_target(warehouse, databricks, marts, replace=replace)
        return {table: _replace(warehouse, table, mart, _selected(mart), warehouse) for table, mart in tables.items()}
    with closing(DatabricksWarehouse(databricks)) as target:
        check_target(target, databricks, marts, replace=replace)
        with target.volume_area() as area:
            row_counts = {}
            for table, mart in tables.items():
                sent = area.send(warehouse.relation(_selected(mart)), mart.name)
                row_counts[table] = _replace(target, table, mart, f"SELECT * FROM {sent}", warehouse)
            return row_counts


def _check_table(
    target: DatabricksWarehouse, databricks: DatabricksSettings, mart: Mart, kind: str, replace: bool
) -> None:
    table = f"{databricks.schema}.{mart.name}"

    def refuse(why: str, remedy: str) -> NoReturn:
        raise SettingsError(f"{databricks.catalog}.{table} {why}: nothing was written.", remedy)

    elsewhere = "set DATABRICKS_SCHEMA to another schema"
    out_of_the_way = f"Rename or drop it, or {elsewhere}."
    if not kind.startswith(("MANAGED", "EXTERNAL")):
        refuse(f"is a {kind.lower().replace('_', ' ')}, and no table can replace it", out_of_the_way)
    properties = dict(target.fetch_native(f"SHOW TBLPROPERTIES {table}"))
    if properties.get(MARK) != mart.table and _columns(target, table) != mart.columns:
        if target.fetch_native(f"DESCRIBE DETAIL {table}")[0][0] != "delta":
            refuse("is no Delta table, so it can't be replaced in one step", out_of_the_way)
        if not replace:
            to_replace = "to have it replaced, give --replace to `publish` or `run`."
            refuse("is there already and is not of this pipeline's making", f"To keep it, {elsewhere}; {to_replace}")
    if properties.get("delta.appendOnly") == "true":
        refuse("may only grow (delta.appendOnly), so it can't be replaced", f"Unset that property, or {elsewhere}.")


def _columns(target: DatabricksWarehouse, table: str) -> tuple[tuple[str, str], ...]:
    """Names and types, in DuckDB's words."""
    relation = target.relation(f"SELECT * FROM {table} LIMIT 0")
    return tuple(zip(relation.columns, map(str, relation.types), strict=True))


def _selected(mart: Mart) -> str:
    columns = ", ".join(f"CAST({name} AS {type_}) AS {name}" for name, type_ in mart.columns)
    return f"SELECT {columns} FROM {mart.table}"


def _replace(target: DatabricksWarehouse, table: str, mart: Mart, query: str, origin: Warehouse) -> int:
    target.execute(f"CREATE SCHEMA IF NOT EXISTS {table.partition('.')[0]}")
    # A new table gets the feature of itself; one that is replaced keeps those that it has.
    properties = f"'{MARK}' = '{mart.table}', 'delta.feature.timestampNtz' = 'supported'"
    target.execute(f"CREATE OR REPLACE TABLE {table} TBLPROPERTIES ({properties}) AS {query}")
    arrived, expected = target.fetch(_totals(mart, table))[0], origin.fetch(_totals(mart, mart.table))[0]
    if arrived != expected:
        raise PipelineError(
            f"{table} holds {arrived[0]:,} rows with totals {arrived[1:]}, the mart {expected[0]:,} with "
            f"{expected[1:]}. Another run may have changed the mart meanwhile: publish again.",
            quotes=[str(arrived[1:]), str(expected[1:])],  # of one account the total is its balance
        )
    return int(arrived[0])


def _totals(mart: Mart, table: str) -> str:
    money = ", ".join(f"SUM({name})" for name, _ in mart.columns if name.endswith("_amount"))
    return f"SELECT COUNT(*), {money} FROM {table}"
