"""Checks what a finished run left where the settings say: `python tests/smoke_test.py`, or by pytest.

Exit code 0: all is well. 1: something is not, or there is no finished run; a line says what.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.errors import PipelineError
from scripts.outputs.export import MANIFEST_NAME, check_outputs
from scripts.reconcile.landed_rows import reconcile
from scripts.report.quality_report import latest_report, latest_report_path
from scripts.settings import Settings, load_settings
from scripts.warehouse.open import open_warehouse
from tests.marts import MARTS


def unfinished(settings: Settings) -> str | None:
    """Why there is nothing to check, None where there is a finished run."""
    if not (settings.output_path / MANIFEST_NAME).exists():
        return f"no run has finished yet: {settings.output_path / MANIFEST_NAME} does not exist. Run `make run`."
    return None


def check_the_files_are_those_of_the_manifest(settings: Settings) -> str:
    problems = check_outputs(settings.output_path)
    assert not problems, " ".join(problems)
    manifest = json.loads((settings.output_path / MANIFEST_NAME).read_text(encoding="utf-8"))
    return f"{len(manifest['files'])} files, as of the load of {manifest['reflects']['loaded_at']}"


def check_csv_and_parquet_hold_the_same_rows(settings: Settings) -> str:
    counts = []
    for mart in MARTS:
        types = dict(mart.columns)
        parquet, csv = (settings.output_path / f"{mart.name}.{suffix}" for suffix in ("parquet", "csv"))
        with duckdb.connect() as connection:
            first = connection.read_parquet(str(parquet))
            assert dict(zip(first.columns, map(str, first.types), strict=True)) == types, f"columns of {parquet}"
            second = connection.read_csv(str(csv), header=True, columns=types, auto_detect=False)
            rows = first.fetchall()
            assert rows == second.fetchall(), f"{csv} and {parquet} differ"
        key = [name for name, _ in mart.columns].index(mart.key)
        keys = [row[key] for row in rows]
        assert keys == sorted(set(keys)), f"{mart.key} is not unique and in order in {parquet}"
        counts.append(f"{mart.name} {len(rows):,}")
    return "rows: " + ", ".join(counts)


def check_money_adds_up(settings: Settings) -> str:
    with duckdb.connect() as connection:
        for mart in MARTS:
            relation = connection.read_parquet(str(settings.output_path / f"{mart.name}.parquet"))
            relation.create_view(mart.name)
        wrong = _number(
            connection,
            "SELECT COUNT(*) FROM account_summary WHERE new_balance_amount <> original_balance_amount + "
            "annual_interest_amount OR annual_interest_amount <> ROUND(original_balance_amount::DECIMAL(28, 2) * "
            "interest_rate_pct, 2) OR original_balance_amount < 0",
        )
        assert wrong == 0, f"{wrong} accounts of which the interest or the new balance is wrong"
        differing = _number(
            connection,
            """
            SELECT COUNT(*)
            FROM customer_profile AS profile
            FULL JOIN (
                SELECT customer_id, COUNT(*) AS accounts, SUM(original_balance_amount) AS balance,
                    SUM(annual_interest_amount) AS interest
                FROM account_summary GROUP BY customer_id
            ) AS total USING (customer_id)
            WHERE profile.total_accounts_count IS DISTINCT FROM total.accounts
                OR profile.total_balance_amount IS DISTINCT FROM total.balance
                OR profile.total_annual_interest_amount IS DISTINCT FROM total.interest
            """,
        )
        assert differing == 0, f"{differing} customers whose totals are not the sum of their accounts"
        total = _number(connection, "SELECT COALESCE(SUM(original_balance_amount), 0) FROM account_summary")
    return f"balances of {total:,} in all"


def check_the_tables_are_what_was_exported(settings: Settings) -> str:
    warehouse = open_warehouse(settings)
    try:
        reconcile(warehouse)
        manifest = json.loads((settings.output_path / MANIFEST_NAME).read_text(encoding="utf-8"))
        for entry in manifest["files"]:
            ((rows,),) = warehouse.fetch(f"SELECT COUNT(*) FROM {entry['mart']}")
            assert rows == entry["rows"], f"{entry['mart']} has {rows:,} rows, {entry['name']} {entry['rows']:,}"
        ((loads,),) = warehouse.fetch("SELECT COUNT(DISTINCT loaded_at) FROM landing.load")
    finally:
        warehouse.close()
    return f"{loads:,} loads, every landed row is in staging or quarantine"


def check_the_newest_report_is_of_a_run_that_went_well(settings: Settings) -> str:
    path = latest_report_path(settings.quality_reports_path)
    assert path, f"there is no quality report in {settings.quality_reports_path}"
    assert path.with_suffix(".html").is_file(), f"{path.with_suffix('.html')} is missing"
    report = latest_report(settings.quality_reports_path)
    assert report["status"] == "succeeded", f"{path}: {report['error']}"
    assert report["test_results"]["failed"] == 0, f"{path}: {report['test_results']['failed']} tests failed"
    datetime.fromisoformat(report["timestamp"])
    return f"{report['test_results']['passed']:,} tests passed, {report['test_results']['warnings']:,} warned"


CHECKS: tuple[Callable[[Settings], str], ...] = (
    check_the_files_are_those_of_the_manifest,
    check_csv_and_parquet_hold_the_same_rows,
    check_money_adds_up,
    check_the_tables_are_what_was_exported,
    check_the_newest_report_is_of_a_run_that_went_well,
)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_smoke(check: Callable[[Settings], str]) -> None:
    settings = load_settings()
    reason = unfinished(settings)
    if reason:
        pytest.skip(reason)
    check(settings)


def main() -> int:
    """Prints a line per check; returns the exit code."""
    settings = load_settings()
    reason = unfinished(settings)
    if reason:
        print(f"FAIL  {reason}")
        return 1
    failed = 0
    for check in CHECKS:
        name = check.__name__.removeprefix("check_").replace("_", " ")
        try:
            print(f"ok    {name}: {check(settings)}")
        except (AssertionError, PipelineError, duckdb.Error) as error:
            failed += 1
            print(f"FAIL  {name}: {str(error).splitlines()[0]}")
    return 1 if failed else 0


def _number(connection: duckdb.DuckDBPyConnection, query: str) -> Any:
    row = connection.execute(query).fetchone()
    assert row is not None
    return row[0]


if __name__ == "__main__":
    sys.exit(main())
