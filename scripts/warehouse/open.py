"""Which engine the settings mean."""

from __future__ import annotations

from scripts.settings import Settings, databricks_of
from scripts.warehouse import Warehouse
from scripts.warehouse.duckdb import DuckDBWarehouse


def open_warehouse(settings: Settings) -> Warehouse:
    """Connects to the tables without loading the SQLMesh project.

    Raises:
        PipelineError: There is nothing to connect to, or it is in use.
    """
    if settings.gateway == "duckdb":
        return DuckDBWarehouse.open(settings.duckdb_path)
    # Only who uses Databricks pays for importing its connector.
    from scripts.warehouse.databricks import DatabricksWarehouse

    return DatabricksWarehouse(databricks_of(settings), settings.lock_timeout)
