"""Marts, exported files and history agree, or the run fails; what has not passed its audits is not handed on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import scripts.project.transform
from scripts.pipeline import cli
from scripts.warehouse.duckdb import DuckDBWarehouse
from tests.feed_strategies import write_feeds
from tests.lab import Story, copy_its_project, environment_of, file_bytes, stored_tables, tell_of_a_copy
from tests.reference import Load
from tests.variants import Variant

FIRST = Load(
    datetime(2024, 1, 15, 2),
    [("1", "Ana", "no"), ("2", "Bob", "yes")],
    [("A1", "1", "100", "savings"), ("A2", "2", "20000", "savings"), ("A3", "2", "50", "checking")],
)
SECOND = Load(datetime(2024, 1, 16, 2), FIRST.customer, [("A1", "1", "150", "savings"), *FIRST.account[1:]])


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Story:
    return tell_of_a_copy(tmp_path_factory.mktemp("first"), [FIRST])


class Desk:
    """A pipeline in a folder of its own, driven by its commands."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, *arguments: str) -> Result:
        return CliRunner().invoke(cli, list(arguments))

    def execute(self, statement: str) -> None:
        warehouse = DuckDBWarehouse.open(self.folder / "lending_club.duckdb")
        try:
            warehouse.execute(statement)
        finally:
            warehouse.close()

    def table_of(self, model: str) -> str:
        """The table behind a model's view."""
        schema, name = model.split(".")
        warehouse = DuckDBWarehouse.open(self.folder / "lending_club.duckdb")
        try:
            ((found,),) = warehouse.fetch(
                f"SELECT table_name FROM information_schema.tables WHERE table_schema = 'sqlmesh__{schema}' "
                f"AND table_name LIKE '{schema}__{name}__%' AND table_name NOT LIKE '%__dev'"
            )
        finally:
            warehouse.close()
        return f"sqlmesh__{schema}.{found}"

    def manifest(self) -> Any:
        return json.loads((self.folder / "outputs" / "manifest.json").read_text(encoding="utf-8"))


@pytest.fixture
def desk(first: Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    shutil.copytree(first.folder, tmp_path / "lab")
    copy_its_project(first, tmp_path / "project")
    monkeypatch.setattr(scripts.project.transform, "PROJECT_ROOT", tmp_path / "project")
    with environment_of(tmp_path / "lab"):
        yield Desk(tmp_path / "lab")


DAMAGES = {
    "a row of a mart is lost": ("marts.account_summary", "DELETE FROM {} WHERE account_id = 'A2'"),
    "a balance is another": ("marts.account_summary", "UPDATE {} SET original_balance_amount = 101 WHERE true"),
    "interest is another": (
        "marts.account_summary",
        "UPDATE {} SET annual_interest_amount = 7 WHERE account_id = 'A1'",
    ),
    "a profile is lost": ("marts.customer_profile", "DELETE FROM {} WHERE customer_id = 2"),
    "a version is lost": ("snapshots.snap_account", "DELETE FROM {} WHERE account_id = 'A2'"),
}


class TestAgreement:
    def test_a_damaged_table_fails_run_and_export_until_it_is_rebuilt(self, desk: Desk) -> None:
        before = file_bytes(desk.folder / "outputs")
        write_feeds(FIRST, desk.folder / "inputs")
        for damage, (model, statement) in DAMAGES.items():
            table = desk.table_of(model)
            desk.execute(f"CREATE OR REPLACE TABLE landing.sound AS FROM {table}")
            desk.execute(statement.format(table))
            for command in ("run", "export"):
                ended = desk(command)
                assert ended.exit_code == 5, (damage, ended.output)
                assert "do not hold what history calls for" in ended.output, damage
                assert "--full-refresh" in ended.output, damage
                assert file_bytes(desk.folder / "outputs") == before, damage
            desk.execute(f"DELETE FROM {table}")
            desk.execute(f"INSERT INTO {table} FROM landing.sound")
        desk.execute("DROP TABLE landing.sound")
        desk.execute(f"DELETE FROM {desk.table_of('snapshots.snap_account')} WHERE account_id = 'A2'")
        rebuilt = desk("run", "--full-refresh")
        assert rebuilt.exit_code == 0, rebuilt.output
        summary = stored_tables(desk.folder, ["marts.account_summary"])["marts.account_summary"]
        assert {row["account_id"] for row in summary} == {"A1", "A2"}

    def test_the_manifest_names_rates_sums_and_models(self, desk: Desk) -> None:
        reflects = desk.manifest()["reflects"]
        assert [
            (Decimal(tier["balance_from_amount"]), Decimal(tier["interest_rate_pct"]), tier["accounts"])
            for tier in reflects["tiers"]
        ] == [
            (Decimal(0), Decimal("0.01"), 1),
            (Decimal(10000), Decimal("0.015"), 0),
            (Decimal(20000), Decimal("0.02"), 1),
        ]
        assert [Decimal(tier["annual_interest_amount"]) for tier in reflects["tiers"]] == [1, 0, 500]
        assert {"marts.account_summary", "snapshots.snap_account"} <= set(reflects["models"])


class TestStatus:
    def status(self, desk: Desk) -> str:
        return next(line for line in desk("status").output.splitlines() if line[1:].split()[:1] == ["exports"])

    def test_exports_of_older_rates_are_named_until_they_are_made_again(
        self, desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("scripts.project.branch.environment_of_folder", lambda *_: "prod")
        assert self.status(desk).startswith("✓")
        Variant(top_rate="0.0300").write(tmp_path / "project")
        planned = desk("plan", "--no-prompts", "--auto-apply", "--skip-tests")
        assert planned.exit_code == 0, planned.output
        assert self.status(desk).startswith("!")
        assert "made with other interest rates than prod has now" in desk("status").output
        assert desk("export").exit_code == 0
        assert self.status(desk).startswith("✓")

    def test_exports_by_older_models_are_named(
        self, desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("scripts.project.branch.environment_of_folder", lambda *_: "prod")
        Variant(reads_ja=True).write(tmp_path / "project")
        planned = desk("plan", "--no-prompts", "--auto-apply", "--skip-tests")
        assert planned.exit_code == 0, planned.output
        assert "made by other versions of" in desk("status").output

    def test_exports_that_lack_a_load_are_named(self, desk: Desk) -> None:
        write_feeds(SECOND, desk.folder / "inputs")
        assert desk("ingest", "--as-of", SECOND.loaded_at.isoformat()).exit_code == 0
        assert desk("transform").exit_code == 0
        assert "The files hold other accounts, balances or interest than the marts." in desk("status").output


class TestUnprovenMarts:
    @pytest.mark.parametrize("command", ["export", "publish"])
    def test_a_load_that_is_not_in_the_marts_is_not_left_out_unsaid(self, command: str, desk: Desk) -> None:
        write_feeds(SECOND, desk.folder / "inputs")
        assert desk("ingest", "--as-of", SECOND.loaded_at.isoformat()).exit_code == 0
        ended = desk(command)
        assert ended.exit_code == 5, ended.output
        assert "do not hold the newest load, 2024-01-16 02:00:00 UTC, with every audit passed" in ended.output
        assert "--anyway" in ended.output

    def test_anyway_takes_the_marts_as_they_stand(self, desk: Desk) -> None:
        write_feeds(SECOND, desk.folder / "inputs")
        assert desk("ingest", "--as-of", SECOND.loaded_at.isoformat()).exit_code == 0
        ended = desk("export", "--anyway")
        assert ended.exit_code == 0, ended.output
        assert desk("transform").exit_code == 0
        assert desk("export").exit_code == 0

    def test_a_row_that_failed_its_audit_is_not_exported(self, desk: Desk, tmp_path: Path) -> None:
        summary = tmp_path / "project" / "models" / "marts" / "account_summary.sql"
        text = summary.read_text(encoding="utf-8")
        summary.write_text(text.replace("max_v := 1,", "max_v := 0.0001,"), encoding="utf-8")
        write_feeds(SECOND, desk.folder / "inputs")
        failed = desk("run", "--as-of", SECOND.loaded_at.isoformat(), "--deploy")
        assert failed.exit_code == 5, failed.output
        before = file_bytes(desk.folder / "outputs")
        assert desk("export").exit_code == 5
        assert file_bytes(desk.folder / "outputs") == before
