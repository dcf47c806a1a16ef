"""A rehearsal of everything a run needs of its gateway, one step after the other, each with its remedy."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from uuid import uuid4

from rich.console import Console
from rich.markup import escape

from scripts.errors import PipelineError, first_line
from scripts.settings import Settings, databricks_of
from scripts.warehouse import Warehouse
from scripts.warehouse.open import open_warehouse
from scripts.warehouse.ownership import refuse_foreign_objects
from scripts.warehouse.reachable import Step, reach_steps

_READABLE = "Check that the tables' names can be read: information_schema of the database or catalog."


def print_check(settings: Settings, console: Console) -> int:
    """Prints each step as it is tried; stops at the first that fails. Returns the exit code: 0 where all went well."""
    settings = settings.model_copy(update={"lock_timeout": 0})
    for step in _databricks_steps(settings) if settings.gateway == "databricks" else _duckdb_steps(settings):
        try:
            detail = step.attempt()
        except Exception as error:
            what, remedy = _told(error, step)
            console.print(f"[red]✗[/red] [bold]{step.name}[/bold]  {escape(what)}", soft_wrap=True)
            console.print(f"  [yellow]→ {escape(remedy)}[/yellow]", soft_wrap=True)
            return error.exit_code if isinstance(error, PipelineError) else 1
        console.print(f"[green]✓[/green] [bold]{step.name}[/bold]  {escape(detail)}", soft_wrap=True)
    return 0


def _told(error: Exception, step: Step) -> tuple[str, str]:
    """What failed and what to do: what the error itself knows goes before what holds of the step."""
    if isinstance(error, PipelineError) and error.remedy:
        return error.what, error.remedy
    return first_line(error), step.remedy


def _duckdb_steps(settings: Settings) -> Iterator[Step]:
    def write() -> str:
        with tempfile.NamedTemporaryFile(dir=settings.duckdb_path.parent):
            return f"{settings.duckdb_path.parent} can be written"

    yield Step("settings", lambda: f"duckdb, {settings.duckdb_path}", "")

    def tables() -> str:
        if not settings.duckdb_path.exists():
            return "none yet"
        with closing(open_warehouse(settings)) as warehouse:
            return _tables(warehouse, settings)

    yield Step("database folder", write, "Set DUCKDB_PATH to a file in a folder that you may write.")
    yield Step("tables", tables, _READABLE)
    yield _state_step(settings)


def _databricks_steps(settings: Settings) -> Iterator[Step]:
    from scripts.outputs.publish import check_target
    from scripts.warehouse.databricks import DatabricksWarehouse

    target = databricks_of(settings)
    warehouses: list[DatabricksWarehouse] = []
    probe = f"lending_club_check_{uuid4().hex[:8]}"

    def connect() -> str:
        warehouses.append(DatabricksWarehouse(target))
        return f"session open on {target.http_path}"

    def statement() -> str:
        ((answer,),) = warehouses[0].fetch("SELECT 1 + 1")
        return f"answers ({answer})"

    def catalog() -> str:
        ((name,),) = warehouses[0].fetch("SELECT CURRENT_CATALOG()")
        if name != target.catalog:
            raise PipelineError(f"The session is in catalog {name}.")
        return str(name)

    def make_table(schema: str) -> None:
        warehouses[0].execute(f"CREATE TABLE {schema}.{probe} AS SELECT 1 AS answer")
        warehouses[0].execute(f"DROP TABLE {schema}.{probe}")

    def create() -> str:
        warehouses[0].execute(f"CREATE SCHEMA {probe}")
        try:
            make_table(probe)
        finally:
            warehouses[0].execute(f"DROP SCHEMA {probe}")
        return "a schema and a table made and dropped"

    def volume() -> str:
        with warehouses[0].volume_area() as area:
            sent = area.send(area.parser().sql("SELECT 42 AS answer"), "probe")
            ((answer,),) = warehouses[0].fetch(f"SELECT answer FROM {sent}")
        return f"{target.catalog}.{'.'.join(target.volume)}: a file sent, read ({answer}) and removed"

    def publish() -> str:
        from scripts.project.transform import open_project

        with closing(open_project(settings, Console(quiet=True))) as project:
            check_target(warehouses[0], target, project.marts, replace=False)
        warehouses[0].execute(f"CREATE SCHEMA IF NOT EXISTS {target.schema}")
        make_table(target.schema)
        return f"{target.catalog}.{target.schema}: nothing is in the way of the marts"

    try:
        yield Step("settings", lambda: f"{target.host}, catalog {target.catalog}", "")
        yield from reach_steps(target)
        yield Step(
            "session",
            connect,
            "Check DATABRICKS_HTTP_PATH (warehouse: Connection details), that the identity may use the warehouse, and "
            "DATABRICKS_CLIENT_ID and DATABRICKS_CLIENT_SECRET where they are set.",
        )
        yield Step("warehouse", statement, "Start the SQL warehouse, or let it start by itself.")
        yield Step(
            "catalog", catalog, f"Grant USE CATALOG on {target.catalog} to this identity, or set DATABRICKS_CATALOG."
        )
        yield Step("tables", lambda: _tables(warehouses[0], settings), _READABLE)
        yield Step("create", create, f"Grant CREATE SCHEMA on catalog {target.catalog} to this identity.")
        yield Step(
            "volume",
            volume,
            f"Grant CREATE VOLUME in schema {target.volume[0]}, or READ and WRITE on DATABRICKS_VOLUME.",
        )
        yield _state_step(settings)
        yield Step(
            "publish",
            publish,
            f"Grant CREATE TABLE and SELECT in schema {target.schema} to this identity, or set DATABRICKS_SCHEMA.",
        )
    finally:
        for warehouse in warehouses:
            warehouse.close()


def _tables(warehouse: Warehouse, settings: Settings) -> str:
    others = refuse_foreign_objects(warehouse, settings)
    if not others:
        return "nothing of others in the project's schemas"
    return f"not this project's, to be left alone: {', '.join(map(str, others))}"


def _state_step(settings: Settings) -> Step:
    def state() -> str:
        from scripts.project.transform import open_project

        project = open_project(settings, Console(quiet=True))
        try:
            environments = [environment.name for environment in project.context.state_sync.get_environments()]
            return f"{project.context.state_sync.state_type()}, environments: {', '.join(environments) or 'none yet'}"
        finally:
            project.close()

    place = Path(settings.duckdb_path).parent
    return Step("state", state, f"Check STATE_HOST and the other STATE_ settings, or that {place} can be written.")
