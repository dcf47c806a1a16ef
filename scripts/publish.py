"""The marts as tables for everybody: `account_summary` and `customer_profile` in DATABRICKS_SCHEMA."""

from __future__ import annotations

from dataclasses import dataclass

from scripts.errors import PipelineError
from scripts.export import MARTS, Mart
from scripts.settings import Settings, databricks_of
from scripts.warehouse import Warehouse
from scripts.warehouse.databricks import DatabricksWarehouse


@dataclass(frozen=True)
class PublishedTable:
    """One published table: full name, and rows as counted after."""

    name: str
    row_count: int


def publish_marts(warehouse: Warehouse, settings: Settings) -> list[PublishedTable]:
    """Replaces the published tables, each atomically, by the marts of a gateway.

    On the databricks gateway they are made where the marts are; those of a DuckDB database go through the volume.

    Raises:
        PipelineError: Databricks refused a statement, or a table does not hold the mart's rows and money.
        SettingsError: Databricks is not configured.
    """
    databricks = databricks_of(settings)
    if isinstance(warehouse, DatabricksWarehouse):
        return [_replace(warehouse, databricks.schema, mart, _selected(mart), warehouse) for mart in MARTS]
    target = DatabricksWarehouse(databricks)
    try:
        with target.volume_area() as area:
            return [
                _replace(target, databricks.schema, mart, f"SELECT * FROM {sent}", warehouse)
                for mart in MARTS
                if (sent := area.send(warehouse.relation(_selected(mart)), mart.name))
            ]
    finally:
        target.close()


def _selected(mart: Mart) -> str:
    columns = ", ".join(f"CAST({name} AS {type_}) AS {name}" for name, type_ in mart.columns)
    return f"SELECT {columns} FROM marts.{mart.name}"


def _replace(target: DatabricksWarehouse, schema: str, mart: Mart, query: str, origin: Warehouse) -> PublishedTable:
    table = f"{schema}.{mart.name}"
    target.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
    target.execute(f"CREATE OR REPLACE TABLE {table} AS {query}")
    arrived, expected = target.fetch(_totals(mart, table))[0], origin.fetch(_totals(mart, f"marts.{mart.name}"))[0]
    if arrived != expected:
        raise PipelineError(
            f"{table} holds {arrived[0]:,} rows with totals {arrived[1:]}, the mart {expected[0]:,} with "
            f"{expected[1:]}. Another run may have changed the mart meanwhile: publish again."
        )
    return PublishedTable(table, int(arrived[0]))


def _totals(mart: Mart, table: str) -> str:
    money = ", ".join(f"SUM({name})" for name, _ in mart.columns if name.endswith("_amount"))
    return f"SELECT COUNT(*), {money} FROM {table}"
