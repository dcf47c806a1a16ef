"""Audits: each finds what breaks its rule, blocking ones keep it out of history and marts, the others say so."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlmesh import Context

from scripts.clock import FIRST_LOAD_AT, end_of_window
from scripts.errors import BlockingAuditError, PipelineError, WrongUsageError
from scripts.pipeline import cli
from scripts.report.quality_report import build_report
from scripts.results import RunRecord
from tests.compare import assert_same_rows
from tests.feed_strategies import write_feeds
from tests.lab import (
    LANDING,
    TABLES,
    Lab,
    Rows,
    Story,
    assert_same_tables,
    continued,
    copy_project,
    file_bytes,
    lab,
    newest,
    stored_tables,
    tell,
)
from tests.reference import DEFAULT_TIERS, Load, Reference, Tier

TIMES = [datetime(2024, 1, 15, 2), datetime(2024, 1, 16, 2)]
CUSTOMERS = [("1", "Ana", "no"), ("2", "Bob", "yes"), ("3", "Cat", "no")]
ACCOUNTS = [
    ("A1", "1", "100", "savings"),
    ("A2", "1", "10000", "savings"),
    ("A3", "2", "20000", "savings"),
    ("A4", "3", "5", "savings"),
    ("A5", "77", "5", "savings"),  # no such customer
]
LATER = (
    [("1", "Ana", "yes"), ("2", "Bob", "maybe"), ("4", "Dan", "no")],
    [("A1", "1", "-1", "savings"), *ACCOUNTS[1:4], ("A5", "77", "6", "savings"), ("A6", "4", "70", "savings")],
)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    return tell(
        tmp_path_factory.mktemp("quality"), [Load(TIMES[0], CUSTOMERS, ACCOUNTS), Load(TIMES[1], LATER[0], LATER[1])]
    )


@pytest.fixture(scope="module")
def audited(story: Story, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab that is tampered with and restored by each test."""
    with continued(story, tmp_path_factory.mktemp("audited")) as (current, _):
        yield current


@pytest.fixture(scope="module")
def overlapping(story: Story, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A closed lab with a version of A4 that begins before the one before it ended."""
    with continued(story, tmp_path_factory.mktemp("overlapping")) as (current, _):
        table = current.job.project.context.resolve_table("snapshots.snap_account")
        current.job.warehouse.execute(
            f"INSERT INTO {table} BY NAME SELECT * REPLACE (valid_from_at - INTERVAL 1 HOUR AS valid_from_at) "
            f"FROM {table} WHERE account_id = 'A4'"
        )
        current.close()
        yield current


def audit(*options: str) -> Result:
    return CliRunner().invoke(cli, ["audit", *options], catch_exceptions=False)


def everything(closed: Lab) -> tuple[dict[str, Rows], dict[str, str]]:
    """All rows of a lab's tables and all of its files but the database."""
    files = file_bytes(closed.folder)
    del files["lending_club.duckdb"]
    return stored_tables(closed.folder, (*TABLES, *LANDING[2:], "landing.run")), files


@contextmanager
def tampered(current: Lab, model: str, statement: str) -> Iterator[None]:
    """The model's stored rows changed by a statement about `{table}`, and put back after."""
    table = current.job.project.context.resolve_table(model)
    warehouse = current.job.warehouse
    warehouse.execute(f"CREATE OR REPLACE TEMP TABLE kept AS SELECT * FROM {table}")
    try:
        warehouse.execute(statement.format(table=table))
        yield
    finally:
        warehouse.execute(f"DELETE FROM {table}")
        warehouse.execute(f"INSERT INTO {table} SELECT * FROM kept")


def failures(current: Lab, model: str, start: datetime = FIRST_LOAD_AT) -> dict[str, int]:
    """The blocking audits of a model that fail for a window up to the last load, with their rows."""
    project = current.job.project
    record = RunRecord("audit", "test", "duckdb", started_at=TIMES[0])
    list(project.audit(record, start, end_of_window(TIMES[1]), [model]))
    assert record.audits, f"{model} has no audits"
    for outcome in record.audits:
        assert outcome.model == model
        assert outcome.passed or outcome.query.strip(), "the query is there for who looks into it"
    return {a.audit: a.failed_count for a in record.audits if a.severity == "error" and not a.passed}


@dataclass(frozen=True)
class Damage:
    """A rule that is broken: where, by what statement, and in how many rows the model's audit finds it."""

    audit: str
    model: str
    statement: str
    rows: int = 1


DAMAGES = [
    Damage(
        "not_negative", "staging.judged_account", "UPDATE {table} SET balance_amount = -0.01 WHERE account_key = 'A4'"
    ),
    Damage(
        "unique_combination_of_columns",
        "staging.judged_customer",
        "INSERT INTO {table} FROM {table} WHERE reasons = '' LIMIT 1",
    ),
    Damage("not_null", "staging.judged_customer", "UPDATE {table} SET customer_name = NULL WHERE customer_id = 4"),
    Damage(
        "accepted_values",
        "staging.judged_account",
        "UPDATE {table} SET account_type = 'bond' WHERE account_key = 'A4'",
    ),
    Damage(
        "landed_rows_accounted_for",
        "staging.judged_customer",
        "DELETE FROM {table} WHERE customer_id IN (1, 2)",
        2,  # loads
    ),
    Damage(
        "landed_rows_accounted_for",
        "staging.judged_account",
        "INSERT INTO {table} FROM {table} WHERE reasons <> ''",
    ),
    Damage(
        "valid_date_range",
        "snapshots.snap_customer",
        "UPDATE {table} SET valid_to_at = valid_from_at WHERE customer_id = 4",
    ),
    Damage(
        "scd2_no_overlap",
        "snapshots.snap_account",
        "INSERT INTO {table} BY NAME SELECT * REPLACE (valid_from_at + INTERVAL 1 HOUR AS valid_from_at) FROM {table} "
        "WHERE account_id = 'A4'",
    ),
    Damage(
        "scd2_no_overlap",
        "snapshots.snap_customer",
        "UPDATE {table} SET valid_to_at = valid_to_at + INTERVAL 1 HOUR WHERE customer_id = 1 AND valid_to_at < NOW()",
    ),
    Damage(
        "accepted_values",
        "intermediate.int_account_with_customer",
        "UPDATE {table} SET event_status = 'lost' WHERE account_id = 'A5'",
        2,
    ),
    Damage(
        "forall",
        "intermediate.int_savings_account_only",
        "UPDATE {table} SET account_type = 'checking' WHERE account_id = 'A6'",
    ),
    Damage(
        "not_negative",
        "marts.account_summary",
        "UPDATE {table} SET original_balance_amount = -1 WHERE account_id = 'A3'",
    ),
    Damage("unique_values", "marts.account_summary", "INSERT INTO {table} FROM {table} WHERE account_id = 'A3'"),
    Damage(
        "forall",
        "marts.account_summary",
        "UPDATE {table} SET new_balance_amount = new_balance_amount + 0.01 WHERE account_id = 'A3'",
    ),
    Damage(
        "forall",
        "marts.account_summary",
        "UPDATE {table} SET annual_interest_amount = annual_interest_amount + 0.01, "
        "new_balance_amount = new_balance_amount + 0.01 WHERE account_id = 'A3'",
    ),
    Damage(
        "rate_follows_balance_and_loan",
        "marts.account_summary",
        "UPDATE {table} SET interest_rate_pct = 0.02 WHERE account_id = 'A3'",
    ),
    Damage("savings_reconcile_with_snapshots", "marts.account_summary", "DELETE FROM {table} WHERE account_id = 'A3'"),
    Damage(
        "savings_reconcile_with_snapshots",
        "marts.account_summary",
        "UPDATE {table} SET customer_id = 2 WHERE account_id = 'A6'",
    ),
    Damage(
        "accepted_range", "marts.customer_profile", "UPDATE {table} SET total_accounts_count = 0 WHERE customer_id = 1"
    ),
    Damage(
        "profile_totals_equal_accounts",
        "marts.customer_profile",
        "UPDATE {table} SET total_balance_amount = total_balance_amount + 0.01 WHERE customer_id = 1",
    ),
    Damage("profile_totals_equal_accounts", "marts.customer_profile", "DELETE FROM {table} WHERE customer_id = 1"),
]


class TestAudits:
    def test_sound_tables_pass_every_audit(self, audited: Lab) -> None:
        record = audited.job.record = RunRecord("full", "test", "duckdb", started_at=TIMES[0])
        audited.job.audit(full=True)
        assert audited.failed_audits() == []
        audits_of = {outcome.model for outcome in record.audits}
        assert len(audits_of) == 12, "every model has audits, the seed included, but the views of judged rows"

    def test_the_engine_is_not_asked_for_columns_before_each_audit(
        self, audited: Lab, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[str] = []

        def columns(_: object, table: object, **__: object) -> None:
            asked.append(str(table))

        monkeypatch.setattr(type(audited.job.project.context.engine_adapter), "columns", columns)
        assert failures(audited, "staging.judged_account") == {}
        assert asked == []

    @pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: f"{damage.audit}-{damage.model}")
    def test_an_audit_fails_when_its_rule_is_broken(self, audited: Lab, damage: Damage) -> None:
        with tampered(audited, damage.model, damage.statement):
            found = {name.partition("(")[0]: rows for name, rows in failures(audited, damage.model).items()}
        assert found.get(damage.audit) == damage.rows, f"{damage.model} reports {found}"

    def test_old_damage_is_found_by_a_full_audit_and_costs_a_run_nothing(self, audited: Lab) -> None:
        statement = "UPDATE {table} SET interest_rate_pct = 0.02 WHERE account_id = 'A3'"
        with tampered(audited, "marts.account_summary", statement):
            assert failures(audited, "marts.account_summary", start=TIMES[1]) == {}
            assert "rate_follows_balance_and_loan" in failures(audited, "marts.account_summary")

    def test_a_full_report_fails_with_audit_model_rows_and_query(self, audited: Lab) -> None:
        statement = "UPDATE {table} SET total_balance_amount = 1 WHERE customer_id IN (1, 2)"
        audited.job.record = RunRecord("full", "test", "duckdb", started_at=TIMES[0])
        with (
            tampered(audited, "marts.customer_profile", statement),
            pytest.raises(BlockingAuditError) as failed,
        ):
            audited.job.audit(full=True)
        message = str(failed.value)
        assert "marts.customer_profile: blocking audit profile_totals_equal_accounts failed with 2 row(s)" in message
        assert "SELECT" in message


class TestAuditCommand:
    @pytest.mark.parametrize(
        ("options", "counts"),
        [
            ((), "2 audits passed, 1 failed"),
            (("--model", "snapshots.snap_account", "--audit", "scd2_no_overlap"), "0 audits passed, 1 failed"),
        ],
        ids=["all", "narrowed"],
    )
    def test_an_overlap_fails_it_and_nothing_is_written(
        self, overlapping: Lab, options: tuple[str, ...], counts: str
    ) -> None:
        tables, files = everything(overlapping)
        ended = audit(*options)
        assert ended.exit_code == 5, ended.output
        sentence = "snapshots.snap_account: blocking audit scd2_no_overlap(account_id) failed with 1 row(s). Query:"
        assert sentence in ended.output
        assert "next_from_at" in ended.output
        assert "--full-refresh" in ended.output
        line_of = dict(re.findall(r"^    (\w+\.\w+) +(.*)$", ended.output, re.M))
        assert line_of["snapshots.snap_account"] == counts
        assert len(line_of) == (1 if options else 12)
        tables_after, files_after = everything(overlapping)
        assert_same_tables(tables, tables_after)
        assert files_after == files

    @pytest.mark.parametrize(
        "options", [("--audit", "not_null"), ("--model", "marts.account_summary")], ids=["audit", "model"]
    )
    def test_what_the_overlap_does_not_break_passes(self, overlapping: Lab, options: tuple[str, ...]) -> None:
        ended = audit(*options)
        assert ended.exit_code == 0, ended.output
        assert "failed" not in ended.output

    @pytest.mark.parametrize(
        ("models", "audits", "said"),
        [
            (["snap_account"], [], "There is no model with audits named 'snap_account'. Is it snapshots.snap_account"),
            ([], ["scd_no_overlap"], "There is no audit named 'scd_no_overlap'. Is it scd2_no_overlap?"),
            (
                ["snapshots.snap_account"],
                ["unheard_of"],
                "There is no audit of snapshots.snap_account named 'unheard_of'. There are not_null, scd2_no_overlap, ",
            ),
        ],
    )
    def test_an_unknown_name_is_wrong_usage(
        self, audited: Lab, models: list[str], audits: list[str], said: str
    ) -> None:
        with pytest.raises(WrongUsageError) as refused:
            audited.job.audit(full=True, models=models, audits=audits)
        assert refused.value.exit_code == 2
        assert said in str(refused.value)

    def test_a_lost_table_gets_a_sentence(self, audited: Lab) -> None:
        table = audited.job.project.context.resolve_table("marts.account_summary").replace('"', "")
        audited.job.warehouse.execute(f"ALTER TABLE {table} RENAME TO lost")
        try:
            with pytest.raises(PipelineError, match=r"marts\.account_summary can't be audited: .* does not exist"):
                audited.job.audit(full=True, models=["marts.account_summary"])
        finally:
            audited.job.warehouse.execute(
                f"ALTER TABLE {table.rpartition('.')[0]}.lost RENAME TO {table.split('.')[-1]}"
            )

    def test_before_the_first_run_there_is_nothing_to_audit(self, tmp_path: Path) -> None:
        with lab(tmp_path) as current:
            current.land(Load(TIMES[0], CUSTOMERS, ACCOUNTS))
            with pytest.raises(PipelineError, match="No model was run yet"):
                current.job.audit(full=True)


class TestWarnings:
    def test_older_versions_and_held_back_accounts_do_not_block(self, story: Story) -> None:
        assert story.row(1, "marts.account_summary", account_id="A1"), "it stands on its last valid version"

    def test_the_report_names_them(self, story: Story, audited: Lab) -> None:
        record = RunRecord("report", "test", "duckdb", started_at=TIMES[0], status="succeeded", audits=story.audits[-1])
        report = build_report(record, audited.job.warehouse)
        assert report["verdict"] == "passed_with_warnings"
        assert report["failed_tests"] == []
        assert [(warning["name"], warning["kind"], warning["count"]) for warning in report["warnings"]] == [
            ("quarantine", "state", 2),
            ("standing_on_older_version", "state", 2),
            ("held_back", "state", 2),
        ]
        assert report["held_back"] == {
            "count": 2,
            "customer_unknown": {"count": 1, "sample_keys": ["A5"]},
            "customer_gone": {"count": 1, "sample_keys": ["A4"]},
        }
        assert report["standing_on_older_version"] == {
            "customer": {"count": 1, "sample_keys": ["2"]},
            "account": {"count": 1, "sample_keys": ["A1"]},
        }
        reasons = report["quarantine"]["account"]["reasons"]
        assert reasons == [{"reason": "balance_negative", "keys": 1, "rows": 1, "sample_keys": ["A1"]}]


class TestBlocking:
    def test_a_load_that_breaks_a_rule_stops_at_staging_and_a_mended_one_goes_through(
        self, story: Story, tmp_path: Path
    ) -> None:
        load = Load(TIMES[1] + timedelta(days=1), LATER[0], [*LATER[1], ("A7", "4", "9", "savings")])
        again = Load(load.loaded_at + timedelta(hours=1), load.customer, load.account)
        behind = ("snapshots", "intermediate", "marts")
        with continued(story, tmp_path) as (current, reference):
            before = {table: rows for table, rows in current.tables().items() if table.startswith(behind)}
            current.land(load)
            current.job.warehouse.execute(
                f"INSERT INTO landing.account FROM landing.account WHERE loaded_at = TIMESTAMP '{load.loaded_at}'"
            )
            write_feeds(again, current.inputs)
            current.close()
            files = file_bytes(tmp_path / "outputs")
            result = CliRunner().invoke(cli, ["run", "--as-of", again.loaded_at.isoformat()], catch_exceptions=False)

            assert result.exit_code == 5, result.output
            sentence = (
                "staging.judged_account: blocking audit unique_combination_of_columns failed with 1 row(s). Query:"
            )
            assert sentence in result.output
            assert "Traceback" not in result.output
            assert file_bytes(tmp_path / "outputs") == files
            (path,) = (tmp_path / "quality_reports").glob("*.json")
            report = json.loads(path.read_text(encoding="utf-8"))
            assert (report["status"], report["verdict"]) == ("failed", "failed")
            assert sentence in report["error"]
            (test,) = (test for test in report["failed_tests"] if test["severity"] == "error")
            assert (test["model"], test["failed_count"]) == ("staging.judged_account", 1)
            assert "SELECT" in test["query"]
            assert report["exports"] == []

            current.open()
            assert_same_tables(before, current.tables(tuple(before)))
            current.job.warehouse.execute(
                "DELETE FROM landing.account WHERE rowid IN (SELECT MAX(rowid) FROM landing.account "
                f"WHERE loaded_at = TIMESTAMP '{load.loaded_at}')"
            )
            reference.take(load)
            reference.take(again)
            current.transform(again.loaded_at)
            current.assert_equals(reference)

    def test_a_failure_names_the_tables_that_already_have_the_load(self, story: Story, tmp_path: Path) -> None:
        load = Load(TIMES[1] + timedelta(days=1), [("1", "Another Name", "no")], [("A1", "1", "70", "savings")])
        with continued(story, tmp_path) as (current, _):
            tiers = current.job.project.context.resolve_table("reference.interest_rate_tier")
            current.job.warehouse.execute(f"UPDATE {tiers} SET interest_rate_pct = 2")
            before = current.tables()
            files = file_bytes(tmp_path / "outputs")
            with pytest.raises(BlockingAuditError) as failed:
                current.take(load)
            _, _, said = str(failed.value).partition(
                "These tables, and the views of them, already have the new load:\n"
            )
            assert said.splitlines()[:4] == [
                "    staging       judged_account, judged_customer",
                "    snapshots     snap_account, snap_customer",
                "    intermediate  int_account_with_customer, int_savings_account_only",
                "    marts         account_summary (with the rows that its audit failed on)",
            ]
            assert "All other tables of prod are as they were, exports and published tables, too." in said
            after = current.tables()
            for named in ("staging.stg_account", "snapshots.snap_account", "marts.account_summary"):
                assert len(after[named]) != len(before[named])
            assert_same_rows(before["marts.customer_profile"], after["marts.customer_profile"], "customer_profile")
            assert file_bytes(tmp_path / "outputs") == files

    def test_a_load_that_no_window_held_is_noticed_and_a_full_refresh_takes_it_in(
        self, story: Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with continued(story, tmp_path) as (current, reference):
            current.transform(TIMES[1] + timedelta(hours=5))
            # A load that no window was opened again for, as one written by hand.
            monkeypatch.setattr(current.job.project, "reopen", lambda since: None)
            load = Load(TIMES[1] + timedelta(hours=2), LATER[0], LATER[1][:3])
            reference.take(load)
            current.land(load)
            with pytest.raises(BlockingAuditError) as missed:
                current.transform(TIMES[1] + timedelta(hours=7))
            message = str(missed.value)
            assert f"account load of {load.loaded_at}: 3 rows landed, 0 reached staging or quarantine" in message
            assert "--full-refresh" in message
            monkeypatch.undo()
            current.transform(TIMES[1] + timedelta(hours=7), full_refresh=True)
            current.assert_equals(reference)


class TestSeedOnABranch:
    def test_a_changed_seed_shows_its_effect_in_its_environment_and_nowhere_else(
        self, story: Story, tmp_path: Path
    ) -> None:
        project = tmp_path / "project"
        copy_project(project)
        seed = project / "seeds" / "interest_rate_tier.csv"
        seed.write_text(seed.read_text().replace("10000.00,0.0150", "5000.00,0.0175"))
        tiers = (DEFAULT_TIERS[0], Tier(Decimal("5000.00"), Decimal("0.0175"), Decimal("0.0050")), DEFAULT_TIERS[2])
        with continued(story, tmp_path / "lab") as (current, reference):
            current.close()
            context = Context(paths=[str(project)], gateway="duckdb")
            end = newest(reference) + timedelta(minutes=1)
            context.plan("higher_rates", execution_time=end, no_prompts=True, auto_apply=True, skip_tests=True)
            context.close()

            current.open()
            current.assert_equals(reference)
            branch = Reference(tiers)
            for load in story.loads:
                branch.take(load)
            expected = branch.tables()
            assert expected["marts.account_summary"] != reference.tables()["marts.account_summary"]
            for table in ("reference.interest_rate_tier", "marts.account_summary", "marts.customer_profile"):
                schema, name = table.split(".")
                assert_same_rows(expected[table], current.rows(f"{schema}__higher_rates.{name}"), table)

            # What prod does next leaves the branch as it is.
            load = Load(newest(reference) + timedelta(days=1), LATER[0], LATER[1][1:])
            reference.take(load)
            current.take(load)
            current.assert_equals(reference)
            rows = current.rows("marts__higher_rates.account_summary")
            assert_same_rows(expected["marts.account_summary"], rows, "marts__higher_rates.account_summary")
