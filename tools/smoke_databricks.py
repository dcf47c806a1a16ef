"""The sample through a real Databricks workspace, beside DuckDB: `python -m tools.smoke_databricks`.

The names of the schemas are fixed by the layers, so this works only in a catalog that holds none of them yet, and
refuses any other: it can't touch tables that somebody uses. It removes every schema that it made, also after a failure.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import click
from rich.console import Console
from rich.markup import escape

from scripts.errors import PipelineError, SettingsError
from scripts.feeds import ACCOUNT, CUSTOMER, FEEDS
from scripts.ingest.sample import SAMPLE
from scripts.job import Job, job
from scripts.outputs.export import MANIFEST_NAME
from scripts.settings import NOTHING_ALLOWED, databricks_of, load_settings
from scripts.warehouse import Warehouse
from scripts.warehouse.databricks import DatabricksWarehouse
from scripts.warehouse.landing_tables import LANDING_TABLES
from scripts.warehouse.ownership import LAYERS, PHYSICAL_PREFIX, SCHEMAS

PREFIX = "lending_club_smoke_"
FIRST_AT, SECOND_AT = datetime(2024, 1, 15, 2), datetime(2024, 1, 16, 2, 0, 0, 1)

console = Console(highlight=False)


@dataclass(frozen=True)
class Rows:
    """The rows of a table, in any order, and its columns with their types in DuckDB's words."""

    types: tuple[tuple[str, str], ...]
    rows: Counter[tuple[Any, ...]]

    @classmethod
    def read(cls, warehouse: Warehouse, table: str) -> Rows:
        relation = warehouse.relation(f"SELECT * FROM {table}")
        types = tuple(zip(relation.columns, map(str, relation.types), strict=True))
        return cls(types, Counter(relation.fetchall()))


@dataclass(frozen=True)
class Outcome:
    """What two loads left on one gateway: every table by name, every exported file by name."""

    tables: dict[str, Rows]
    files: dict[str, bytes]


def present_schemas(warehouse: Warehouse) -> set[str]:
    """What the catalog holds of the project: schemas of the layers, landing zone, SQLMesh's own, earlier rehearsals."""
    rows = warehouse.fetch("SELECT schema_name FROM information_schema.schemata")
    names = {str(name).lower() for (name,) in rows}
    return {name for name in names if name in SCHEMAS or name.startswith((PHYSICAL_PREFIX, PREFIX))}


def refuse_used_catalog(warehouse: Warehouse, catalog: str) -> None:
    """Stops where somebody's tables could be.

    Raises:
        SettingsError: The catalog holds a schema of the project.
    """
    present = present_schemas(warehouse)
    if present:
        raise SettingsError(
            f"Catalog {catalog} already holds {', '.join(sorted(present))}. The rehearsal makes schemas of these names "
            "and removes them, so it runs only where there are none. Set DATABRICKS_CATALOG to an empty catalog."
        )


def write_sample(folder: Path) -> tuple[Path, Path]:
    """Writes two loads: the sample feed; then with a name, a loan flag and three accounts changed, a row of each file
    gone, and a malformed line in each."""
    first, second = folder / "first", folder / "second"
    first.mkdir(parents=True)
    for feed in FEEDS:
        shutil.copy(SAMPLE / feed.file_name, first / feed.file_name)
    shutil.copytree(first, second)
    _edit(second / CUSTOMER.file_name, {"1": {"HasLoan": "No"}, "3": {"Name": "Zoë Ødegård"}}, gone="2")
    _edit(
        second / ACCOUNT.file_name,
        {"A001": {"Balance": "20000.005"}, "A002": {"AccountType": "Checking"}, "A003": {"CustomerID": "3"}},
        gone="A004",
    )
    return first, second


def take_loads(current: Job, loads: tuple[Path, Path]) -> Outcome:
    """Brings both loads to the marts and the files, and reads all of it back."""
    for inputs, as_of in zip(loads, (FIRST_AT, SECOND_AT), strict=True):
        for feed in FEEDS:
            shutil.copy(inputs / feed.file_name, current.settings.input_path / feed.file_name)
        current.ingest(as_of, NOTHING_ALLOWED)
        current.transform(as_of)
    current.export()
    models = [model for model in current.project.context.models.values() if model.name.split(".")[0] in LAYERS]
    names = [model.name for model in models]
    names += [f"landing.{name}" for name in LANDING_TABLES if name not in ("lease", "run")]
    return Outcome(
        {name: Rows.read(current.warehouse, name) for name in sorted(names)},
        exported_files(current.settings.output_path),
    )


def exported_files(folder: Path) -> dict[str, bytes]:
    """The bytes of each exported file, of the manifest without the models' versions: they have the catalog in them."""
    manifest = json.loads((folder / MANIFEST_NAME).read_text(encoding="utf-8"))
    del manifest["reflects"]["models"]
    files = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    return {**files, MANIFEST_NAME: json.dumps(manifest).encode()}


def compare(expected: Outcome, actual: Outcome) -> None:
    """Checks that both gateways hold the same.

    Raises:
        PipelineError: A table or a file differs; the message names it, with a row of each side.
    """
    if expected.tables.keys() != actual.tables.keys() or expected.files.keys() != actual.files.keys():
        raise PipelineError("DuckDB and Databricks do not hold tables and files of the same names.")
    for name, table in expected.tables.items():
        check_same(name, table, actual.tables[name])
    for name, content in expected.files.items():
        if content != actual.files[name]:
            raise PipelineError(f"The exported {name} of Databricks is not, byte for byte, that of DuckDB.")


def check_same(name: str, expected: Rows, actual: Rows) -> None:
    """Checks one table: columns in their order, types, rows.

    Raises:
        PipelineError: They differ.
    """
    if expected.types != actual.types:
        raise PipelineError(f"{name}: DuckDB has the columns {expected.types}, Databricks {actual.types}.")
    if expected.rows != actual.rows:
        missing, unexpected = expected.rows - actual.rows, actual.rows - expected.rows
        raise PipelineError(
            f"{name}: {missing.total():,} rows of DuckDB are not on Databricks, such as {next(iter(missing), None)}; "
            f"{unexpected.total():,} are there that should not be, such as {next(iter(unexpected), None)}."
        )


def publish_and_check(current: Job, outcome: Outcome) -> None:
    """Publishes the marts of a gateway and reads them back from where everybody would.

    Raises:
        PipelineError: A published table is not the mart.
    """
    current.publish()
    databricks = databricks_of(current.settings)
    reader = DatabricksWarehouse(databricks)
    try:
        for mart in current.project.marts_of_prod:
            table = f"{databricks.schema}.{mart.name}"
            check_same(table, outcome.tables[f"marts.{mart.name}"], Rows.read(reader, table))
    finally:
        reader.close()


@contextmanager
def gateway_job(gateway: str, folder: Path) -> Iterator[Job]:
    """A job on one gateway, with its files and SQLMesh's state in a folder of its own."""
    (folder / "inputs").mkdir(parents=True)
    os.environ |= {
        "DATABASE_TYPE": gateway,
        "DUCKDB_PATH": str(folder / "smoke.duckdb"),
        "INPUT_PATH": str(folder / "inputs"),
        "OUTPUT_PATH": str(folder / "outputs"),
    }
    with job(reports=False) as current:
        try:
            yield current
        finally:
            if isinstance(current.warehouse, DatabricksWarehouse):
                current.warehouse.close()


@contextmanager
def removed_schemas(own_schema: str, catalog: str) -> Iterator[None]:
    """Removes the schemas that were made meanwhile, however it ends.

    Raises:
        PipelineError: One could not be removed; where something failed before, that is raised and this is printed.
    """
    try:
        yield
    except BaseException:
        try:
            remove_schemas(own_schema, catalog)
        except PipelineError as left:
            console.print(f"[bold red]Not cleaned up.[/bold red] {escape(str(left))}", soft_wrap=True)
        raise
    remove_schemas(own_schema, catalog)


def remove_schemas(own_schema: str, catalog: str) -> None:
    """Drops the rehearsal's schemas with all that is in them, and nothing else, whatever appeared there meanwhile.

    Raises:
        PipelineError: One is still there, or Databricks can't be reached.
    """
    _say("clean-up", f"removing the schemas that were made in catalog {catalog}")
    warehouse = DatabricksWarehouse(databricks_of(load_settings()))
    try:
        made = present_schemas(warehouse) & {*SCHEMAS, own_schema}
        for name in sorted(made):
            warehouse.execute_native(f"DROP SCHEMA IF EXISTS `{name}` CASCADE")
        left = present_schemas(warehouse) & made
    finally:
        warehouse.close()
    if left:
        raise PipelineError(f"These schemas of catalog {catalog} are still there: {', '.join(sorted(left))}.")
    console.print(f"    {len(made)} schemas removed")


def rehearse() -> None:
    """Both loads through both gateways, compared; then the catalog as it was.

    Raises:
        SettingsError: Databricks is not configured, or its catalog is in use.
        PipelineError: A step failed, or the gateways differ.
    """
    catalog = databricks_of(load_settings()).catalog
    own_schema = PREFIX + uuid4().hex[:8]
    os.environ |= {
        "DATABRICKS_SCHEMA": own_schema,
        "DATABRICKS_VOLUME": f"{own_schema}.feed",
        # Never the state of the tables in use.
        "STATE_HOST": "",
    }
    settings = databricks_of(load_settings())
    _say("catalog", f"looking for the project's schemas in {catalog}")
    warehouse = DatabricksWarehouse(settings)
    try:
        refuse_used_catalog(warehouse, catalog)
    finally:
        warehouse.close()
    with tempfile.TemporaryDirectory(prefix=PREFIX) as scratch, removed_schemas(own_schema, catalog):
        folder = Path(scratch)
        loads = write_sample(folder / "feeds")
        outcomes = {}
        for gateway in ("duckdb", "databricks"):
            _say(gateway, "the sample, a change, exports, publishing")
            with gateway_job(gateway, folder / gateway) as current:
                outcomes[gateway] = take_loads(current, loads)
                publish_and_check(current, outcomes[gateway])
        _say("compare", "every table row for row, every exported file byte for byte")
        compare(outcomes["duckdb"], outcomes["databricks"])
        tables, files = outcomes["duckdb"].tables, outcomes["duckdb"].files
        rows = sum(table.rows.total() for table in tables.values())
        console.print(f"    {len(tables)} tables with {rows:,} rows and {len(files)} files are the same")


def _say(step: str, what: str) -> None:
    console.print(f"[bold cyan]{step}[/bold cyan]  {what}", soft_wrap=True)


def _edit(path: Path, edits: dict[str, dict[str, str]], *, gone: str) -> None:
    """Changes fields of the rows with these keys (the first column), leaves one row out, adds a malformed line.

    Raises:
        KeyError: The file has no such key: the change would not be one.
    """
    with path.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    by_key = {row[0]: row for row in rows}
    for key, fields in edits.items():
        for column, text in fields.items():
            by_key[key][header.index(column)] = text
    rows.remove(by_key[gone])
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])
        file.write("one,field,too,many,surely\n")


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def main() -> None:
    """Run the sample feed and a change of it through Databricks and DuckDB, compare, and clean up.

    \b
    Needs the DATABRICKS_ settings, and a catalog without any schema of the project: it makes source, staging,
    snapshots, intermediate, marts, reference, landing and their sqlmesh__ twins there, and removes them.
    Exit codes: 0 all the same · 1 a difference or a failure · 4 a setting is wrong or the catalog is in use.
    """
    try:
        rehearse()
    except PipelineError as error:
        console.print(f"\n[bold red]Stopped.[/bold red] {escape(str(error))}", soft_wrap=True)
        sys.exit(error.exit_code)
    console.print("[green]All the same; the catalog is as it was.[/green]")


if __name__ == "__main__":
    main()
