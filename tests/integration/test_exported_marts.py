"""Which marts are exported: those whose models say so, whatever their names, keys and columns."""

from __future__ import annotations

import json
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest
from click.testing import CliRunner, Result

from scripts.pipeline import cli
from tests.lab import Story, continued, copy_project, environment_of, lab, tell
from tests.marts import MARTS
from tests.reference import Load

FIRST = Load(
    datetime(2024, 1, 15, 2),
    [("1", "Ana", "no"), ("2", "Bob", "yes")],
    [("A1", "1", "100", "savings"), ("A2", "2", "20000", "savings"), ("A3", "1", "50.25", "savings")],
)
BALANCE_BY_RATE = """\
/* Balances by customer and rate. One row per customer and rate. Answers: how much do we owe at which rate? */
MODEL (
  name marts.balance_by_rate,
  kind FULL,
  grain (customer_id, interest_rate_pct),
  tags (marts, export),
  audits (
    not_null(columns := (customer_id, interest_rate_pct, balance_amount))
  )
);

SELECT
  interest_rate_pct::DECIMAL(6, 4), /* Rate as a fraction */
  customer_id::BIGINT, /* Customer id */
  SUM(original_balance_amount)::DECIMAL(38, 4) AS balance_amount /* Sum of the balances */
FROM marts.account_summary
GROUP BY
  interest_rate_pct,
  customer_id
"""

UNIT_TEST = """\
test_balances_are_summed:
  model: marts.balance_by_rate
  inputs:
    marts.account_summary:
    - {account_id: A1, customer_id: 1, interest_rate_pct: 0.01, original_balance_amount: 100}
    - {account_id: A2, customer_id: 1, interest_rate_pct: 0.01, original_balance_amount: 50.25}
  outputs:
    query:
    - {interest_rate_pct: 0.01, customer_id: 1, balance_amount: 150.25}
"""


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    return tell(tmp_path_factory.mktemp("story"), [FIRST])


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    copy_project(tmp_path / "project")
    monkeypatch.setattr("scripts.project.transform.PROJECT_ROOT", tmp_path / "project")
    return tmp_path / "project"


def run(folder: Path, *arguments: str) -> Result:
    with environment_of(folder):
        return CliRunner().invoke(cli, arguments, catch_exceptions=False)


def test_the_projects_own_are_what_readers_of_the_files_rely_on(story: Story, tmp_path: Path) -> None:
    with continued(story, tmp_path) as (current, _):
        assert current.job.project.marts == MARTS
        assert current.job.project.marts_of_prod == MARTS


class TestOneMore:
    """A model that is tagged is all that it takes."""

    @pytest.fixture
    def folder(self, story: Story, tmp_path: Path, project: Path) -> Path:
        (project / "models/marts/balance_by_rate.sql").write_text(BALANCE_BY_RATE, encoding="utf-8")
        (project / "tests/models/test_balance_by_rate.yaml").write_text(UNIT_TEST, encoding="utf-8")
        with continued(story, tmp_path / "lab"):
            pass
        return tmp_path / "lab"

    def test_it_is_exported_sorted_by_its_grain_counted_and_shown(self, folder: Path) -> None:
        ended = run(folder, "run", "--as-of", "2024-01-16T02:00:00")
        assert ended.exit_code == 0, ended.output
        expected = [(Decimal("0.0100"), 1, Decimal("150.2500")), (Decimal("0.0250"), 2, Decimal("20000.0000"))]
        path = folder / "outputs" / "balance_by_rate.parquet"
        relation = duckdb.sql(f"SELECT * FROM '{path}'")
        assert relation.columns == ["interest_rate_pct", "customer_id", "balance_amount"]
        assert [str(type_) for type_ in relation.types] == ["DECIMAL(6,4)", "BIGINT", "DECIMAL(38,4)"]
        assert relation.fetchall() == expected
        assert path.with_suffix(".csv").read_text() == (
            "interest_rate_pct,customer_id,balance_amount\n0.0100,1,150.2500\n0.0250,2,20000.0000\n"
        )
        described = json.loads((folder / "outputs" / "manifest.json").read_text())["files"]
        assert {entry["sorted_by"] for entry in described if entry["mart"] == "marts.balance_by_rate"} == {
            "customer_id, interest_rate_pct"
        }
        assert len(described) == 6
        (report,) = (folder / "quality_reports").glob("*.json")
        assert json.loads(report.read_text())["mart_rows"]["balance_by_rate"] == 2
        status = run(folder, "status")
        assert status.exit_code == 0, status.output
        assert "marts.balance_by_rate" in status.output
        assert "2 rows" in status.output

    def test_before_it_is_in_prod_an_export_leaves_it_out(self, folder: Path) -> None:
        ended = run(folder, "export")
        assert ended.exit_code == 0, ended.output
        assert not (folder / "outputs" / "balance_by_rate.csv").exists()
        assert (folder / "outputs" / "account_summary.csv").exists()

    def test_without_a_grain_the_message_names_it_and_nothing_is_written(self, folder: Path, project: Path) -> None:
        model = project / "models/marts/balance_by_rate.sql"
        model.write_text(BALANCE_BY_RATE.replace("  grain (customer_id, interest_rate_pct),\n", ""), encoding="utf-8")
        before = landed(folder)
        ended = run(folder, "run", "--as-of", "2024-01-16T02:00:00")
        assert ended.exit_code == 4, ended.output
        assert "marts.balance_by_rate is tagged `export` and has no `grain` in its header" in ended.output
        assert landed(folder) == before


def landed(folder: Path) -> int:
    with lab(folder) as current:
        return current.count("landing.load")
