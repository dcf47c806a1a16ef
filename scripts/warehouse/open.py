"""Which engine the settings mean, and waiting for a database that another process has open."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic, sleep
from typing import TypeVar

from rich.console import Console
from rich.markup import escape

from scripts.errors import DatabaseInUseError
from scripts.settings import Settings, databricks_of
from scripts.warehouse import Warehouse
from scripts.warehouse.duckdb import DuckDBWarehouse

Opened = TypeVar("Opened")


def open_warehouse(settings: Settings) -> Warehouse:
    """Connects without loading the SQLMesh project; raises PipelineError where there is nothing, or it is in use."""
    if settings.gateway == "duckdb":
        return DuckDBWarehouse.open(settings.duckdb_path)
    # Only who uses Databricks pays for importing its connector.
    from scripts.warehouse.databricks import DatabricksWarehouse

    return DatabricksWarehouse(databricks_of(settings), settings.lock_timeout)


def once_free(opening: Callable[[], Opened], seconds: float, console: Console, pause: float = 0.2) -> Opened:
    """Opens a database as soon as no other process has it open, and says so once where it has to wait; raises
    DatabaseInUseError where one has it open still after so many seconds. `pause` is the seconds between attempts."""
    until = monotonic() + seconds
    waits = False
    while True:
        try:
            return opening()
        except DatabaseInUseError as error:
            left = until - monotonic()
            if left <= 0:
                raise
            if not waits:
                console.print(f"{escape(error.what)} Waiting up to {seconds:g} s.", soft_wrap=True)
                waits = True
            sleep(min(pause, left))
