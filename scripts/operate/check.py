"""A rehearsal of everything a run needs of its gateway, one step after the other, each with its remedy."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import closing
from typing import NamedTuple
from uuid import uuid4

from rich.console import Console
from rich.markup import escape

from scripts.errors import PipelineError, first_line
from scripts.settings import Settings, databricks_of
from scripts.warehouse import Warehouse
from scripts.warehouse.open import open_warehouse
from scripts.warehouse.ownership import refuse_foreign_objects
from scripts.warehouse.reachable import HOST_REMEDY, TOKEN_REMEDY, reach_host, try_token


class Step(NamedTuple):
    """What is tried next, and what to do when it fails and its error does not say."""

    name: str
    remedy: str = ""


# Each step before it is tried, and then what it found.
Steps = Iterator[Step | str]

_TABLES = Step("tables", "Check that the tables' names can be read: information_schema of the database or catalog.")


def print_check(settings: Settings, console: Console) -> int:
    """Prints each step as it is tried; stops at the first that fails. Returns the exit code: 0 where all went well."""
    settings = settings.model_copy(update={"lock_timeout": 0})
    try:
        for said in _databricks_steps(settings) if settings.gateway == "databricks" else _duckdb_steps(settings):
            if isinstance(said, Step):
                step = said
            else:
                console.print(f"[green]✓[/green] [bold]{step.name}[/bold]  {escape(said)}", soft_wrap=True)
    except Exception as error:
        what, remedy = first_line(error), step.remedy
        if isinstance(error, PipelineError) and error.remedy:
            # What the error itself knows goes before what holds of the step.
            what, remedy = error.what, error.remedy
        console.print(f"[red]✗[/red] [bold]{step.name}[/bold]  {escape(what)}", soft_wrap=True)
        console.print(f"  [yellow]→ {escape(remedy)}[/yellow]", soft_wrap=True)
        return error.exit_code if isinstance(error, PipelineError) else 1
    return 0


def _duckdb_steps(settings: Settings) -> Steps:
    path = settings.duckdb_path
    yield Step("settings")
    yield f"duckdb, {path}"
    yield Step("database folder", "Set DUCKDB_PATH to a file in a folder that you may write.")
    with tempfile.NamedTemporaryFile(dir=path.parent):
        yield f"{path.parent} can be written"
    yield _TABLES
    if path.exists():
        with closing(open_warehouse(settings)) as warehouse:
            yield _others(warehouse, settings)
    else:
        yield "none yet"
    yield from _state_steps(settings)


def _databricks_steps(settings: Settings) -> Steps:
    from scripts.outputs.publish import check_target
    from scripts.warehouse.databricks import DatabricksWarehouse

    yield Step("settings")
    target = databricks_of(settings)
    yield f"{target.host}, catalog {target.catalog}"
    yield Step("DNS and TLS", HOST_REMEDY)
    yield reach_host(target)
    yield Step("token", TOKEN_REMEDY)
    yield try_token(target)
    yield Step(
        "session",
        "Check DATABRICKS_HTTP_PATH (warehouse: Connection details), that the identity may use the warehouse, and "
        "DATABRICKS_CLIENT_ID and DATABRICKS_CLIENT_SECRET where they are set.",
    )
    with closing(DatabricksWarehouse(target)) as warehouse:
        yield f"session open on {target.http_path}"
        yield Step("warehouse", "Start the SQL warehouse, or let it start by itself.")
        ((answer,),) = warehouse.fetch("SELECT 1 + 1")
        yield f"answers ({answer})"
        yield Step("catalog", f"Grant USE CATALOG on {target.catalog} to this identity, or set DATABRICKS_CATALOG.")
        ((name,),) = warehouse.fetch("SELECT CURRENT_CATALOG()")
        if name != target.catalog:
            raise PipelineError(f"The session is in catalog {name}.")
        yield str(name)
        yield _TABLES
        yield _others(warehouse, settings)
        yield Step("create", f"Grant CREATE SCHEMA on catalog {target.catalog} to this identity.")
        probe = f"lending_club_check_{uuid4().hex[:8]}"
        warehouse.execute(f"CREATE SCHEMA {probe}")
        try:
            _make_table(warehouse, f"{probe}.{probe}")
        finally:
            warehouse.execute(f"DROP SCHEMA {probe}")
        yield "a schema and a table made and dropped"
        schema, volume = target.volume
        yield Step("volume", f"Grant CREATE VOLUME in schema {schema}, or READ and WRITE on DATABRICKS_VOLUME.")
        with warehouse.volume_area() as area:
            sent = area.send(area.parser().sql("SELECT 42 AS answer"), "probe")
            ((answer,),) = warehouse.fetch(f"SELECT answer FROM {sent}")
        yield f"{target.catalog}.{schema}.{volume}: a file sent, read ({answer}) and removed"
        yield from _state_steps(settings)
        from scripts.project.transform import open_project

        remedy = f"Grant CREATE TABLE and SELECT in schema {target.schema} to this identity, or set DATABRICKS_SCHEMA."
        yield Step("publish", remedy)
        with closing(open_project(settings, Console(quiet=True))) as project:
            check_target(warehouse, target, project.marts, replace=False)
        warehouse.execute(f"CREATE SCHEMA IF NOT EXISTS {target.schema}")
        _make_table(warehouse, f"{target.schema}.{probe}")
        yield f"{target.catalog}.{target.schema}: nothing is in the way of the marts"


def _state_steps(settings: Settings) -> Steps:
    from scripts.project.transform import open_project

    place = settings.duckdb_path.parent
    yield Step("state", f"Check STATE_HOST and the other STATE_ settings, or that {place} can be written.")
    with closing(open_project(settings, Console(quiet=True))) as project:
        state = project.context.state_sync
        environments = ", ".join(environment.name for environment in state.get_environments())
        yield f"{state.state_type()}, environments: {environments or 'none yet'}"


def _others(warehouse: Warehouse, settings: Settings) -> str:
    names = ", ".join(map(str, refuse_foreign_objects(warehouse, settings)))
    return f"not this project's, to be left alone: {names}" if names else "nothing of others in the project's schemas"


def _make_table(warehouse: Warehouse, table: str) -> None:
    warehouse.execute(f"CREATE TABLE {table} AS SELECT 1 AS answer")
    warehouse.execute(f"DROP TABLE {table}")
