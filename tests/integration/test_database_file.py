"""The database file is the user's: it may have any name, be moved and copied, and be open in another program."""

from __future__ import annotations

import dataclasses
import shutil
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import pytest
from click.testing import CliRunner

import scripts.project.transform
from scripts.pipeline import cli
from scripts.warehouse.duckdb import DuckDBWarehouse
from tests.feed_strategies import write_feeds
from tests.lab import (
    TABLES,
    Story,
    assert_same_tables,
    copy_project,
    environment_of,
    lab,
    rows_of,
    tell,
)
from tests.reference import Load, Reference
from tests.variants import Variant

FIRST_AT = datetime(2024, 1, 15, 2)
FIRST = Load(
    FIRST_AT,
    [("1", "Ana", "no"), ("2", "Bob", "yes")],
    [("A1", "1", "100", "savings"), ("A2", "2", "20000", "savings")],
)
SECOND = Load(
    FIRST_AT + timedelta(days=1),
    [("1", "Anna", "no"), ("2", "Bob", "yes")],
    [("A1", "1", "150", "savings"), ("A2", "2", "20000", "savings")],
)
THIRD = dataclasses.replace(FIRST, loaded_at=FIRST_AT + timedelta(days=2))
# Names of its schemas, of catalogs and words of SQL, and characters that SQL, YAML or Jinja make something of.
NAMES = (
    *("marts", "landing", "staging", "snapshots", "sqlmesh", "temp", "system", "main", "select", "parsed_feed"),
    *("it's", "my-bank.v2", 'a {{ b }} "c" \\ #d.duckdb'),
)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    return tell(tmp_path_factory.mktemp("first"), [FIRST])


def database_of(story: Story) -> Path:
    return story.folder / "lending_club.duckdb"


def tables_in(path: Path) -> dict[str, list[dict[str, object]]]:
    warehouse = DuckDBWarehouse.open(path)
    try:
        return {table: rows_of(warehouse, table) for table in TABLES}
    finally:
        warehouse.close()


def assert_goes_on(path: Path, folder: Path, reference: Reference) -> str:
    """Brings the second load through in a process of its own; returns what it said."""
    write_feeds(SECOND, folder / "inputs")
    with environment_of(folder, DUCKDB_PATH=str(path)):
        ended = CliRunner().invoke(cli, ["run", "--as-of", SECOND.loaded_at.isoformat()])
        assert ended.exit_code == 0, ended.output
        status = CliRunner().invoke(cli, ["status"])
        assert status.exit_code == 0, status.output
    reference.take(SECOND)
    assert_same_tables(reference.tables(), tables_in(path))
    return ended.output


def reference_of_first() -> Reference:
    reference = Reference()
    reference.take(FIRST)
    return reference


class TestItsName:
    @pytest.mark.parametrize("name", NAMES)
    def test_a_copy_under_any_name_answers_as_the_original(self, name: str, story: Story, tmp_path: Path) -> None:
        shutil.copy(database_of(story), tmp_path / name)
        assert_same_tables(story.after[-1], tables_in(tmp_path / name))

    def test_sqlmesh_opens_it_under_a_name_that_has_to_be_quoted(self, story: Story, tmp_path: Path) -> None:
        shutil.copy(database_of(story), tmp_path / NAMES[-1])
        with lab(tmp_path, DUCKDB_PATH=str(tmp_path / NAMES[-1])) as current:
            assert current.job.project.is_planned()
            assert_same_tables(story.after[-1], current.tables())

    def test_a_moved_copy_goes_on_with_the_next_load(self, story: Story, tmp_path: Path) -> None:
        path = tmp_path / "it's another folder" / "my-bank.v2"
        path.parent.mkdir()
        shutil.copy(database_of(story), path)
        said = assert_goes_on(path, tmp_path, reference_of_first())
        assert "plan" not in said.split(), "nothing is built again"

    def test_a_new_one_may_have_any_name_and_folder(self, tmp_path: Path) -> None:
        path = tmp_path / "new" / "it's" / "marts"
        write_feeds(FIRST, tmp_path / "inputs")
        with environment_of(tmp_path, DUCKDB_PATH=str(path)):
            ended = CliRunner().invoke(cli, ["run", "--as-of", FIRST.loaded_at.isoformat()])
        assert ended.exit_code == 0, ended.output
        assert_same_tables(reference_of_first().tables(), tables_in(path))

    def test_a_person_attaches_it_as_the_readme_says(self, story: Story, tmp_path: Path) -> None:
        shutil.copy(database_of(story), tmp_path / "bank.duckdb")
        rows = len(story.after[-1]["marts.account_summary"])
        with duckdb.connect() as connection:
            connection.execute(f"ATTACH '{tmp_path / 'bank.duckdb'}' AS lending_club; USE lending_club;")
            assert connection.sql("FROM marts.account_summary").shape[0] == rows
        shutil.copy(database_of(story), tmp_path / "lending_club.duckdb")
        with duckdb.connect(str(tmp_path / "lending_club.duckdb")) as connection:
            assert connection.sql("FROM marts.account_summary").shape[0] == rows


def test_a_second_database_of_one_folder_is_right_whatever_the_first_one_went_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mart that reads one with a column more keeps its table in the one, and has another in the other."""
    project = tmp_path / "project"
    copy_project(project)
    monkeypatch.setattr(scripts.project.transform, "PROJECT_ROOT", project)
    first, second = tmp_path / "took the change", tmp_path / "started with it"
    tell(first, [FIRST])
    with_a_column = Variant(copies_balance=True)
    with_a_column.write(project)
    for folder in (first, second):
        reference = Reference()
        with lab(folder) as current:
            for load in (FIRST, SECOND, THIRD):
                reference.take(load)
                if load is not FIRST or folder is second:
                    current.take(load)
                    assert_same_tables(with_a_column.tables(reference), current.tables())
                    current.close()
                    current.open()


class TestOfAnEarlierVersion:
    @pytest.fixture
    def older(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """A database whose catalog is named after its file, as SQLMesh names it where nobody says how."""
        older = tmp_path / "my-bank.duckdb"
        copy_project(tmp_path / "project")
        config = tmp_path / "project" / "config.py"
        text = config.read_text(encoding="utf-8")
        assert "duckdb_file(CATALOG, " in text
        config.write_text(text.replace("duckdb_file(CATALOG, ", 'duckdb_file("my-bank", '), encoding="utf-8")
        write_feeds(FIRST, tmp_path / "inputs")
        with monkeypatch.context() as patch, environment_of(tmp_path, DUCKDB_PATH=str(older)):
            patch.setattr(scripts.project.transform, "PROJECT_ROOT", tmp_path / "project")
            patch.setattr("scripts.warehouse.duckdb.CATALOG", '"my-bank"')
            ended = CliRunner().invoke(cli, ["run", "--as-of", FIRST.loaded_at.isoformat()])
            assert ended.exit_code == 0, ended.output
        config.write_text(text, encoding="utf-8")
        monkeypatch.setattr(scripts.project.transform, "PROJECT_ROOT", tmp_path / "project")
        # SQLMesh keeps the connection to a path for as long as the process lives.
        return older.rename(tmp_path / "bank.duckdb")

    def test_it_is_read_and_goes_on_without_being_built_again(self, older: Path, tmp_path: Path) -> None:
        with environment_of(tmp_path, DUCKDB_PATH=str(older)):
            status = CliRunner().invoke(cli, ["status"])
            assert status.exit_code == 0, status.output
        said = assert_goes_on(older, tmp_path, reference_of_first())
        changes = {line.split("changed: ")[1] for line in said.splitlines() if "changed: " in line}
        assert changes == {"metadata"}

    def test_one_of_another_project_is_left_as_it_is(self, tmp_path: Path) -> None:
        path = tmp_path / "other.duckdb"
        with duckdb.connect(str(path)) as connection:
            connection.execute("CREATE SCHEMA sqlmesh__marts; CREATE TABLE sqlmesh__marts.total AS SELECT 42 AS answer")
            connection.execute("CREATE SCHEMA marts; CREATE VIEW marts.total AS FROM other.sqlmesh__marts.total")
        before = path.read_bytes()
        DuckDBWarehouse.open(path).close()
        assert path.read_bytes() == before
