"""A change of the project between loads is as safe as a load: deploys, branches, refreshes, repeated commands."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
from click.testing import CliRunner, Result
from sqlglot import exp
from sqlmesh import Context

import scripts.project.transform
from scripts.clock import end_of_window
from scripts.errors import BlockingAuditError, FeedRefusedError
from scripts.pipeline import cli
from scripts.project.prod import prod_snapshots
from scripts.project.windows import model_versions
from scripts.settings import PROJECT_ROOT
from tests import older_system
from tests.compare import assert_same_rows
from tests.feed_strategies import write_feeds
from tests.lab import (
    Lab,
    Story,
    assert_same_tables,
    continued,
    copy_its_project,
    environment_of,
    select,
    stored_tables,
    tell_of_a_copy,
)
from tests.reference import DEFAULT_TIERS, Load, Reference, Tier
from tests.variants import BALANCE, COPIED

FIRST_AT = datetime(2024, 1, 15, 2)
FIRST = Load(
    FIRST_AT,
    [("1", "Ana", "no"), ("2", "Bob", "yes")],
    [("A1", "1", "100", "savings"), ("A2", "2", "20000", "savings"), ("A3", "2", "50", "checking")],
)
HIGHER = (DEFAULT_TIERS[0], DEFAULT_TIERS[1], Tier(Decimal("20000.00"), Decimal("0.0300"), Decimal("0.0050")))
MARTS = ("marts.account_summary", "marts.customer_profile")
MODEL = "models/marts/account_summary.sql"
SEED = "seeds/interest_rate_tier.csv"
AT_ONCE = ("--no-prompts", "--auto-apply", "--skip-tests")
SQLMESH = str(Path(sys.executable).with_name("sqlmesh"))


def load_of(days: int, balance: str = "150") -> Load:
    """A load so many days after the first, with another balance of A1."""
    accounts = [("A1", "1", balance, "savings"), *FIRST.account[1:]]
    return Load(FIRST_AT + timedelta(days=days), FIRST.customer, accounts)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    return tell_of_a_copy(tmp_path_factory.mktemp("first"), [FIRST])


@dataclass
class Desk:
    """A lab whose project is a copy, which the test may change, and the reference of prod."""

    lab: Lab
    reference: Reference
    project: Path

    @property
    def database(self) -> Path:
        return self.lab.folder / "lending_club.duckdb"

    def change(self, part: str, old: str, new: str) -> None:
        """Edits a file of the project; the next process works with it."""
        path = self.project / part
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new), encoding="utf-8")
        self.lab.close()
        self.lab.open()

    def describe_anew(self, words: str) -> None:
        text = (self.project / MODEL).read_text(encoding="utf-8")
        self.change(MODEL, text.splitlines()[0], f"/* {words} */")

    def raise_rates(self) -> None:
        self.change(SEED, "20000.00,0.0200", "20000.00,0.0300")

    def take(self, load: Load) -> None:
        self.reference.take(load)
        self.lab.take(load)

    def lose_rows(self, model: str) -> None:
        """Empties the table behind a model's view."""
        self.lab.job.warehouse.execute(f"DELETE FROM {self.table_of(model)}")

    def table_of(self, model: str) -> str:
        context = self.lab.job.project.context
        environment = context.state_sync.get_environment("prod")
        assert environment is not None
        (snapshot,) = (s for s in environment.snapshots if s.name.endswith(model.replace(".", '"."') + '"'))
        return str(exp.to_table(snapshot.table_name()).sql(dialect="duckdb"))

    def assert_prod(self, reference: Reference | None = None) -> None:
        self.lab.assert_equals(reference or self.reference)

    def with_higher_rates(self) -> Reference:
        """Prod after it went over to the higher rates."""
        other = copy.deepcopy(self.reference)
        other.change_rates(HIGHER)
        return other

    def with_higher_rates_on_a_branch(self) -> Reference:
        other = copy.deepcopy(self.reference)
        other.tiers = HIGHER
        return other

    @property
    def context(self) -> Context:
        return self.lab.job.project.context

    def plan_branch(self, until: datetime) -> None:
        """Plans and runs the changed project in the environment `branch`, as SQLMesh's own commands do."""
        options: dict[str, Any] = {"no_prompts": True, "auto_apply": True, "skip_tests": True}
        self.context.plan("branch", execution_time=end_of_window(until), **options)
        assert self.context.run("branch", execution_time=end_of_window(until), ignore_cron=True).is_success

    def in_branch(self) -> dict[str, list[dict[str, Any]]]:
        return {name: self.lab.rows(name.replace(".", "__branch.")) for name in MARTS}


@pytest.fixture
def desk(story: Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    copy_its_project(story, tmp_path / "project")
    monkeypatch.setattr(scripts.project.transform, "PROJECT_ROOT", tmp_path / "project")
    with continued(story, tmp_path / "lab") as (current, reference):
        yield Desk(current, reference, tmp_path / "project")


def marts_of(reference: Reference) -> dict[str, list[dict[str, Any]]]:
    return {name: reference.tables()[name] for name in MARTS}


class TestFullRefresh:
    def test_it_rebuilds_all_after_words_were_changed_twice(self, desk: Desk) -> None:
        for day, words in enumerate(("One row per savings account.", "One row per account that saves."), 1):
            desk.describe_anew(words)
            desk.take(load_of(day, f"{day}00"))
        for damaged in ("marts.account_summary", "staging.judged_account", "snapshots.snap_account"):
            desk.lose_rows(damaged)
        desk.lab.transform(None, full_refresh=True)
        desk.assert_prod()

    def test_a_branch_that_is_merged_after_it_holds_what_it_rebuilt(self, desk: Desk) -> None:
        desk.take(load_of(1))
        desk.raise_rates()
        desk.plan_branch(FIRST_AT + timedelta(days=2))
        desk.lab.transform(None, full_refresh=True)
        desk.assert_prod(desk.with_higher_rates())


class TestRuleTakenBack:
    """A version of before comes back together with a change that leaves all rows as they are."""

    READS = ("models/staging/judged_customer.sql", "'true', '1'", "'true', '1', 'ja'")
    LOADS = (
        Load(FIRST_AT + timedelta(days=1), [("1", "Ana", "no"), ("2", "Bob", "no")], FIRST.account),
        Load(FIRST_AT + timedelta(days=2), [("1", "Ana", "no"), ("2", "Bob", "ja")], FIRST.account),
    )

    def take_back(self, desk: Desk) -> None:
        """Two loads by the rule, after which the folder has it no more."""
        desk.change(*self.READS)
        for load in self.LOADS:
            desk.take(load)
        desk.change(self.READS[0], self.READS[2], self.READS[1])

    def test_with_words_of_the_accounts_history_holds_what_the_rule_says(self, desk: Desk) -> None:
        self.take_back(desk)
        desk.change("models/staging/stg_account.sql", "Answers:", "Answers (for all):")
        desk.lab.transform(None)
        desk.assert_prod()

    def test_with_a_column_of_a_mart_the_other_mart_holds_what_the_rule_says(self, desk: Desk) -> None:
        self.take_back(desk)
        column = "  balance_amount::DECIMAL(18, 2) AS original_balance_amount,"
        desk.change(
            MODEL, column, f"  balance_amount::DECIMAL(18, 2) AS copied_balance_amount, /* Once more */\n{column}"
        )
        desk.lab.transform(None)
        name = "marts.customer_profile"
        assert_same_tables({name: desk.reference.tables()[name]}, desk.lab.tables([name]))


class TestBranches:
    def test_a_branch_that_ran_ahead_neither_refuses_a_load_nor_brings_prod_old_balances(self, desk: Desk) -> None:
        desk.raise_rates()
        desk.plan_branch(FIRST_AT + timedelta(days=5))
        desk.change(SEED, "20000.00,0.0300", "20000.00,0.0200")
        desk.take(load_of(2))
        desk.assert_prod()
        desk.raise_rates()
        desk.lab.transform(None)
        desk.assert_prod(desk.with_higher_rates())

    def test_a_branch_that_was_dropped_is_right_when_it_comes_back(self, desk: Desk) -> None:
        desk.raise_rates()
        desk.plan_branch(FIRST_AT + timedelta(days=5))
        desk.context.invalidate_environment("branch", sync=True)
        desk.change(SEED, "20000.00,0.0300", "20000.00,0.0200")
        desk.take(load_of(2))
        desk.take(load_of(3, "160"))
        desk.raise_rates()
        desk.lab.transform(None)
        desk.assert_prod(desk.with_higher_rates())

    def test_a_branch_sees_a_load_that_is_dated_before_its_windows(self, desk: Desk) -> None:
        desk.raise_rates()
        desk.plan_branch(FIRST_AT + timedelta(days=5))
        write_feeds(load_of(2), desk.lab.inputs)
        desk.lab.ingest(load_of(2).loaded_at)
        desk.reference.take(load_of(2))
        desk.plan_branch(FIRST_AT + timedelta(days=6))
        assert_same_tables(marts_of(desk.with_higher_rates_on_a_branch()), desk.in_branch())

    def test_a_plan_up_to_the_past_hour_is_audited_by_what_it_has_seen(self, desk: Desk) -> None:
        """The models that it shares with prod hold the hour under way, too, in which a customer with another balance
        takes out a loan."""
        desk.take(Load(load_of(1).loaded_at, [("1", "Ana", "yes"), FIRST.customer[1]], load_of(1).account))
        desk.raise_rates()
        desk.plan_branch(load_of(1).loaded_at)
        assert_same_tables(marts_of(desk.with_higher_rates_on_a_branch()), desk.in_branch())
        desk.context.plan("prod", restate_models=[MARTS[0]], no_prompts=True, auto_apply=True, skip_tests=True)

    def test_a_branch_that_is_ahead_of_the_models_it_reads_comes_into_prod_right(self, desk: Desk) -> None:
        desk.raise_rates()
        write_feeds(load_of(2), desk.lab.inputs)
        desk.lab.ingest(load_of(2).loaded_at)
        # `sqlmesh plan --run` evaluates the changed models alone, up to now.
        desk.context.plan(
            "branch",
            execution_time=FIRST_AT + timedelta(days=5),
            run=True,
            no_prompts=True,
            auto_apply=True,
            skip_tests=True,
        )
        desk.change(SEED, "20000.00,0.0300", "20000.00,0.0200")
        desk.reference.take(load_of(2))
        desk.lab.transform(None)
        desk.take(load_of(3, "160"))
        desk.raise_rates()
        desk.lab.transform(None)
        desk.assert_prod(desk.with_higher_rates())

    def test_a_branch_with_a_column_in_staging_shows_the_load_of_the_hour_under_way(self, desk: Desk) -> None:
        desk.take(load_of(1))
        desk.raise_rates()
        key = "  customer_key::TEXT, /* Trimmed customer id */\n"
        desk.change(
            "models/staging/judged_customer.sql", key, f"{key}  customer_key::TEXT AS copied_key, /* Once more */\n"
        )
        desk.plan_branch(load_of(1).loaded_at)
        assert_same_tables(marts_of(desk.with_higher_rates_on_a_branch()), desk.in_branch())


class TestRateChange:
    """Whoever loads the marts by `calculated_at` misses no row whose figures changed."""

    def seen_after(self, desk: Desk, moment: datetime) -> set[str]:
        """Accounts of prod's mart that a reader takes who has all that was calculated until a moment."""
        return {row["account_id"] for row in desk.lab.rows(MARTS[0]) if row["calculated_at"] > moment}

    def newest_seen(self, desk: Desk) -> datetime:
        newest: datetime = max(row["calculated_at"] for row in desk.lab.rows(MARTS[0]))
        return newest

    def test_each_change_is_seen_once_with_loads_and_without(self, desk: Desk) -> None:
        for rate in ("0.0300", "0.0200", "0.0300"):
            seen = self.newest_seen(desk)
            former = "0.0200" if rate == "0.0300" else "0.0300"
            desk.change(SEED, f"20000.00,{former}", f"20000.00,{rate}")
            desk.reference.change_rates(HIGHER if rate == "0.0300" else DEFAULT_TIERS)
            desk.lab.transform(None)
            desk.assert_prod()
            assert self.seen_after(desk, seen) == {"A1", "A2"}
        seen = self.newest_seen(desk)
        desk.take(load_of(1))
        desk.assert_prod()
        assert self.seen_after(desk, seen) == {"A1"}

    def test_it_stays_through_a_full_refresh(self, desk: Desk) -> None:
        desk.raise_rates()
        desk.lab.transform(None)
        desk.reference.change_rates(HIGHER)
        desk.take(load_of(1))
        desk.lab.transform(None, full_refresh=True)
        desk.assert_prod()
        ((_, first), (_, second)) = desk.lab.job.warehouse.fetch("FROM reference.rate_change ORDER BY changed_at")
        assert "from 20000.00: 0.0200, with a loan 0.0050 more" in first
        assert "from 20000.00: 0.0300, with a loan 0.0050 more" in second

    def test_a_branch_that_was_filled_before_comes_into_prod_with_the_time_of_the_merge(self, desk: Desk) -> None:
        desk.raise_rates()
        desk.plan_branch(FIRST_AT + timedelta(days=1))
        desk.change(SEED, "20000.00,0.0300", "20000.00,0.0200")
        desk.take(load_of(2))
        seen = self.newest_seen(desk)
        desk.raise_rates()
        desk.lab.transform(None)
        desk.assert_prod(desk.with_higher_rates())
        assert self.seen_after(desk, seen) == {"A1", "A2"}

    def test_one_that_a_plain_plan_brought_is_noted_by_the_next_run(self, desk: Desk) -> None:
        desk.raise_rates()
        desk.context.plan("prod", no_prompts=True, auto_apply=True, skip_tests=True)
        desk.reference.take(load_of(1))
        desk.reference.change_rates(HIGHER)
        desk.lab.take(load_of(1))
        desk.assert_prod()

    def test_the_same_rates_written_otherwise_are_no_change(self, desk: Desk) -> None:
        desk.change(SEED, "0.00,0.0100,0.0050\n10000.00,0.0150", "0,0.01,0.005\n10000,0.0150")
        desk.lab.transform(None)
        desk.assert_prod()

    def test_a_database_from_before_changes_were_noted_begins_with_what_prod_holds(self, desk: Desk) -> None:
        desk.lab.job.warehouse.execute("DELETE FROM landing.rate_change")
        desk.take(load_of(1))
        desk.assert_prod()
        desk.lab.job.warehouse.execute("DELETE FROM landing.rate_change")
        desk.raise_rates()
        desk.lab.transform(None)
        desk.assert_prod(desk.with_higher_rates())


class TestPlanOfABranch:
    def plan(self, desk: Desk, monkeypatch: pytest.MonkeyPatch, environment: str = "branch") -> Result:
        """`make plan` in a process of its own."""
        monkeypatch.setattr("scripts.project.branch.environment_of_folder", lambda *_: environment)
        desk.lab.close()
        ended = CliRunner().invoke(cli, ["plan", "--no-prompts", "--auto-apply", "--skip-tests"])
        desk.lab.open()
        return ended

    def test_before_the_first_load_it_makes_empty_tables(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("scripts.project.branch.environment_of_folder", lambda *_: "prod")
        with environment_of(tmp_path):
            ended = CliRunner().invoke(cli, ["plan", "--no-prompts", "--auto-apply"])
            assert ended.exit_code == 0, ended.output
        assert stored_tables(tmp_path, ["marts.account_summary"]) == {"marts.account_summary": []}

    def test_it_is_filled_in_the_minute_of_a_load(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        load = load_of(0, "170")
        write_feeds(load, desk.lab.inputs)
        (taken, _) = desk.lab.ingest(None)
        desk.lab.transform(None)
        desk.reference.take(Load(taken.loaded_at, load.customer, load.account))
        desk.raise_rates()
        ended = self.plan(desk, monkeypatch)
        assert ended.exit_code == 0, ended.output
        assert_same_tables(marts_of(desk.with_higher_rates_on_a_branch()), desk.in_branch())
        desk.assert_prod()

    def test_behind_a_column_it_shows_loads_that_came_since_the_plan_before(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        desk.raise_rates()
        assert self.plan(desk, monkeypatch).exit_code == 0
        desk.change(SEED, "20000.00,0.0300", "20000.00,0.0200")
        desk.take(load_of(1))
        desk.raise_rates()
        desk.change(MODEL, BALANCE, BALANCE + COPIED)
        ended = self.plan(desk, monkeypatch)
        assert ended.exit_code == 0, ended.output
        expected = desk.with_higher_rates_on_a_branch().tables()["marts.customer_profile"]
        assert_same_rows(expected, desk.in_branch()["marts.customer_profile"], "marts.customer_profile")

    def test_it_says_which_loads_it_cannot_show(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        write_feeds(load_of(1), desk.lab.inputs)
        desk.lab.ingest(load_of(1).loaded_at)
        desk.raise_rates()
        ended = self.plan(desk, monkeypatch)
        assert ended.exit_code == 0, ended.output
        assert "Not shown: 1 load that prod's models do not hold yet" in ended.output
        assert_same_tables(marts_of(desk.with_higher_rates_on_a_branch()), desk.in_branch())

    def test_on_the_production_branch_it_takes_in_every_load_first(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        load = load_of(1)
        write_feeds(load, desk.lab.inputs)
        desk.lab.ingest(load.loaded_at)
        desk.raise_rates()
        ended = self.plan(desk, monkeypatch, "prod")
        assert ended.exit_code == 0, ended.output
        desk.reference.take(load)
        desk.assert_prod(desk.with_higher_rates())


class TestDeploy:
    def test_a_load_that_breaks_an_audit_leaves_prods_marts_as_they_were(self, desk: Desk) -> None:
        versions = model_versions(desk.context)
        load = load_of(1)
        desk.raise_rates()
        desk.lab.land(load)
        desk.lab.job.warehouse.execute(
            f"INSERT INTO landing.account SELECT * FROM landing.account WHERE loaded_at = TIMESTAMP '{load.loaded_at}'"
        )
        with pytest.raises(BlockingAuditError):
            desk.lab.transform(None)
        assert_same_tables(marts_of(desk.reference), {name: desk.lab.rows(name) for name in MARTS})
        assert model_versions(desk.context) == versions
        desk.lab.job.warehouse.execute(
            f"DELETE FROM landing.account WHERE loaded_at = TIMESTAMP '{load.loaded_at}' AND rowid NOT IN "
            f"(SELECT MIN(rowid) FROM landing.account WHERE loaded_at = TIMESTAMP '{load.loaded_at}')"
        )
        desk.lab.transform(None)
        desk.reference.take(load)
        desk.assert_prod(desk.with_higher_rates())

    def test_a_failure_names_the_tables_of_prod_that_already_have_the_load(self, desk: Desk) -> None:
        desk.change(SEED, "20000.00,0.0200", "20000.00,2.0000")
        load = load_of(1)
        with pytest.raises(BlockingAuditError) as failed:
            desk.lab.take(load)
        assert "reference.interest_rate_tier: blocking audit accepted_range failed" in str(failed.value)
        _, _, said = str(failed.value).partition("These tables, and the views of them, already have the new load:\n")
        assert [line.split()[0] for line in said.splitlines()[:4]] == ["staging", "snapshots", "intermediate", "All"]
        assert_same_tables(marts_of(desk.reference), {name: desk.lab.rows(name) for name in MARTS})
        assert select(desk.lab.rows("snapshots.snap_account"), account_id="A1", loaded_at=load.loaded_at)

    def test_from_another_branch_it_has_to_be_insisted_on(self, desk: Desk) -> None:
        subprocess.run(["git", "init", "--quiet", "--initial-branch=rates", str(desk.project)], check=True)
        desk.raise_rates()
        write_feeds(load_of(1), desk.lab.inputs)
        desk.lab.close()
        arguments = ["run", "--as-of", load_of(1).loaded_at.isoformat()]
        before = (desk.lab.folder / "lending_club.duckdb").read_bytes()
        refused = CliRunner().invoke(cli, arguments)
        assert refused.exit_code == 4, refused.output
        assert "on branch rates, not on main or master" in refused.output
        assert "make plan" in refused.output
        assert (desk.lab.folder / "lending_club.duckdb").read_bytes() == before
        insisted = CliRunner().invoke(cli, [*arguments, "--deploy"])
        desk.lab.open()
        assert insisted.exit_code == 0, insisted.output
        said = [" ".join(line.split()) for line in insisted.output.splitlines()]
        assert "reference.interest_rate_tier changed: breaking" in said
        assert "marts.account_summary changed: indirect breaking" in said
        desk.reference.take(load_of(1))
        desk.assert_prod(desk.with_higher_rates())

    def test_models_that_fail_their_unit_tests_stay_out_of_prod(self, desk: Desk) -> None:
        desk.change(MODEL, "balance_amount + interest_amount", "balance_amount - interest_amount")
        write_feeds(load_of(1), desk.lab.inputs)
        desk.lab.close()
        before = (desk.lab.folder / "lending_club.duckdb").read_bytes()
        refused = CliRunner().invoke(cli, ["run", "--as-of", load_of(1).loaded_at.isoformat()])
        assert refused.exit_code == 4, refused.output
        assert "Unit tests of the changed models fail" in refused.output
        assert "test_account_summary.yaml" in refused.output
        assert (desk.lab.folder / "lending_club.duckdb").read_bytes() == before
        # What the message names shows the same, until the models are mended.
        test = [SQLMESH, "--paths", str(desk.project), "test"]
        shown = subprocess.run(test, capture_output=True, text=True)
        assert shown.returncode != 0
        assert "new_balance_amount" in shown.stdout
        desk.change(MODEL, "balance_amount - interest_amount", "balance_amount + interest_amount")
        desk.lab.close()
        mended = CliRunner().invoke(cli, ["run", "--as-of", load_of(1).loaded_at.isoformat()])
        assert mended.exit_code == 0, mended.output
        desk.lab.open()

    def test_one_that_was_killed_before_its_end_is_finished(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        def killed(*_: Any, **__: Any) -> None:
            raise KeyboardInterrupt

        desk.raise_rates()
        with monkeypatch.context() as patch:
            patch.setattr("sqlmesh.core.plan.evaluator.BuiltInPlanEvaluator.visit_finalize_environment_stage", killed)
            with pytest.raises(KeyboardInterrupt):
                desk.lab.transform(None)
        desk.lab.close()
        desk.lab.open()
        desk.reference = desk.with_higher_rates()
        desk.take(load_of(1))
        desk.assert_prod()


class TestRepeatedCommands:
    def run(self, desk: Desk, *arguments: str) -> Result:
        desk.lab.close()
        ended = CliRunner().invoke(cli, list(arguments))
        desk.lab.open()
        return ended

    def test_a_dated_run_goes_on_where_its_load_was_taken(self, desk: Desk) -> None:
        load = load_of(1)
        desk.lab.land(load)
        for _ in range(2):
            ended = self.run(desk, "run", "--as-of", load.loaded_at.isoformat())
            assert ended.exit_code == 0, ended.output
        desk.reference.take(load)
        desk.assert_prod()
        assert desk.lab.count("landing.load") == 4

    def test_a_dated_run_with_other_bytes_is_refused(self, desk: Desk) -> None:
        desk.take(load_of(1))
        write_feeds(load_of(1, "151"), desk.lab.inputs)
        ended = self.run(desk, "run", "--as-of", load_of(1).loaded_at.isoformat())
        assert ended.exit_code == FeedRefusedError.exit_code, ended.output
        assert "is not after the last load" in ended.output
        desk.assert_prod()

    def test_transform_leaves_later_dates_open(self, desk: Desk) -> None:
        desk.lab.land(load_of(1))
        desk.reference.take(load_of(1))
        assert self.run(desk, "transform").exit_code == 0
        desk.take(load_of(2, "180"))
        desk.assert_prod()

    def test_a_load_that_a_run_beside_it_passed_by_is_made_up_for(self, desk: Desk) -> None:
        desk.lab.land(load_of(1))
        # As a plain `sqlmesh run` leaves it that saw the hour end before the load was committed.
        for snapshot in prod_snapshots(desk.context):
            if snapshot.evaluatable and not snapshot.is_seed:
                desk.context.state_sync.add_interval(snapshot, FIRST_AT, FIRST_AT + timedelta(days=2))
        ended = self.run(desk, "transform")
        assert ended.exit_code == 0, ended.output
        assert "were missing from the models: run again from there" in ended.output
        desk.reference.take(load_of(1))
        desk.assert_prod()

    def test_rows_lost_from_staging_are_made_up_for(self, desk: Desk) -> None:
        desk.lose_rows("staging.judged_account")
        ended = self.run(desk, "transform")
        assert ended.exit_code == 0, ended.output
        desk.assert_prod()

    def test_a_load_dated_before_windows_that_were_run_is_not_missed(self, desk: Desk) -> None:
        desk.lab.transform(FIRST_AT + timedelta(days=3))
        desk.take(load_of(1))
        desk.assert_prod()


LOSSES = {
    "a view": ("DROP VIEW marts.account_summary",),
    "every view": tuple(
        f"DROP SCHEMA {name} CASCADE"
        for name in ("source", "staging", "snapshots", "intermediate", "marts", "reference")
    ),
}


class TestWhatIsMissing:
    @pytest.mark.parametrize("statements", LOSSES.values(), ids=LOSSES.keys())
    def test_a_dropped_view_is_made_again(self, desk: Desk, statements: tuple[str, ...]) -> None:
        for statement in statements:
            desk.lab.job.warehouse.execute(statement)
        desk.take(load_of(1))
        desk.assert_prod()

    def test_dropped_tables_are_built_again(self, desk: Desk) -> None:
        desk.take(load_of(1))
        for model in (
            "staging.judged_account",
            "snapshots.snap_customer",
            "marts.customer_profile",
            "reference.interest_rate_tier",
        ):
            desk.lab.job.warehouse.execute(f"DROP TABLE {desk.table_of(model)}")
        desk.take(load_of(2, "190"))
        desk.assert_prod()

    def test_a_run_with_all_its_guards_builds_a_dropped_table_again(self, desk: Desk) -> None:
        desk.lab.job.warehouse.execute(f"DROP TABLE {desk.table_of('snapshots.snap_account')}")
        desk.lab.close()
        write_feeds(load_of(1), desk.lab.inputs)
        ended = CliRunner().invoke(cli, ["run", "--as-of", load_of(1).loaded_at.isoformat()])
        desk.lab.open()
        assert ended.exit_code == 0, ended.output
        desk.reference.take(load_of(1))
        desk.assert_prod()

    def test_a_plan_of_prod_makes_a_dropped_schema_again(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("scripts.project.branch.environment_of_folder", lambda *_: "prod")
        desk.lab.job.warehouse.execute("DROP SCHEMA snapshots CASCADE")
        desk.lab.close()
        for command in ("export", "status"):
            ended = CliRunner().invoke(cli, [command])
            assert ended.exit_code == 1, ended.output
            assert "`python -m scripts.pipeline transform`" in ended.output
        ended = CliRunner().invoke(cli, ["plan", "--no-prompts", "--auto-apply"])
        desk.lab.open()
        assert ended.exit_code == 0, ended.output
        desk.assert_prod()

    def test_a_dropped_physical_schema_is_built_again_by_a_full_refresh(self, desk: Desk) -> None:
        desk.take(load_of(1))
        desk.lab.job.warehouse.execute("DROP SCHEMA sqlmesh__snapshots CASCADE")
        desk.lab.job.warehouse.execute("DROP SCHEMA snapshots CASCADE")
        desk.lab.transform(None, full_refresh=True)
        desk.assert_prod()


def plain_sqlmesh(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs SQLMesh's own command, as a person types it."""
    command = [SQLMESH, "--paths", str(project), *arguments]
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)


COMMANDS: dict[str, tuple[str, ...]] = {
    "run": ("run",),
    "ingest": ("ingest",),
    "transform": ("transform",),
    "export": ("export",),
    "publish": ("publish",),
    "plan": ("plan", "--no-prompts", "--auto-apply"),
    "check": ("check",),
    "status": ("status",),
}


class TestTablesOfOthers:
    @pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS.keys())
    def test_in_a_database_of_the_older_system_nothing_is_written(
        self, command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("scripts.project.branch.environment_of_folder", lambda *_: "prod")
        path = tmp_path / "lending_club.duckdb"
        older_system.make_database(path)
        before = path.read_bytes()
        write_feeds(FIRST, tmp_path / "inputs")
        with environment_of(tmp_path):
            ended = CliRunner().invoke(cli, command)
        assert ended.exit_code == 4, ended.output
        assert f"it writes to: {older_system.OF_OTHERS}. Nothing" in ended.output
        assert "DUCKDB_PATH" in ended.output
        assert path.read_bytes() == before

    @pytest.mark.parametrize("kind", ["TABLE", "VIEW"])
    @pytest.mark.parametrize("command", ["run", "transform", "export", "status"])
    def test_what_took_the_place_of_a_view_is_not_replaced(self, desk: Desk, command: str, kind: str) -> None:
        desk.lab.job.warehouse.execute("DROP VIEW marts.account_summary")
        desk.lab.job.warehouse.execute(f"CREATE {kind} marts.account_summary AS SELECT 42 AS answer")
        desk.lab.close()
        before = desk.database.read_bytes()
        ended = CliRunner().invoke(cli, [command])
        assert ended.exit_code == 4, ended.output
        assert "it writes to: marts.account_summary. Nothing" in ended.output
        assert desk.database.read_bytes() == before

    def test_a_view_of_the_users_own_is_not_replaced_by_a_model_that_takes_its_name(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("scripts.warehouse.ownership.PROJECT_ROOT", desk.project)
        desk.lab.job.warehouse.execute("CREATE VIEW marts.by_type AS SELECT 42 AS answer")
        copy_of_profile = (desk.project / "models/marts/customer_profile.sql").read_text(encoding="utf-8")
        named_anew = copy_of_profile.replace("marts.customer_profile", "marts.by_type")
        (desk.project / "models/marts/by_type.sql").write_text(named_anew, encoding="utf-8")
        desk.lab.close()
        before = desk.database.read_bytes()
        ended = CliRunner().invoke(cli, ["transform"])
        assert ended.exit_code == 4, ended.output
        assert "marts.by_type" in ended.output
        assert desk.database.read_bytes() == before

    @pytest.mark.parametrize("environment", ["prod", "dev"])
    def test_a_plain_plan_in_a_database_of_the_older_system_leaves_it_as_it_is(
        self, environment: str, tmp_path: Path
    ) -> None:
        path = tmp_path / "lending_club.duckdb"
        older_system.make_database(path)
        before = older_system.contents(path)
        with environment_of(tmp_path):
            ended = plain_sqlmesh(PROJECT_ROOT, "plan", environment, *AT_ONCE)
        assert ended.returncode == 1, ended.stdout
        assert f"it writes to: {older_system.OF_OTHERS}. Nothing was written. Set DUCKDB_PATH" in ended.stdout
        assert older_system.contents(path) == before

    def test_plain_commands_go_on_in_an_own_database_until_somebody_takes_the_place_of_a_view(
        self, tmp_path: Path
    ) -> None:
        run = ("run", "--ignore-cron")
        path = tmp_path / "lending_club.duckdb"
        reference = Reference()
        reference.take(FIRST)
        write_feeds(FIRST, tmp_path / "inputs")
        with environment_of(tmp_path):
            planned = plain_sqlmesh(PROJECT_ROOT, "plan", *AT_ONCE)
            assert planned.returncode == 0, planned.stdout
            assert stored_tables(tmp_path, MARTS) == {name: [] for name in MARTS}
            assert CliRunner().invoke(cli, ["ingest", "--as-of", FIRST_AT.isoformat()]).exit_code == 0
            ran = plain_sqlmesh(PROJECT_ROOT, *run)
            assert ran.returncode == 0, ran.stdout
            assert_same_tables(marts_of(reference), stored_tables(tmp_path, MARTS))
            with duckdb.connect(str(path)) as connection:
                connection.execute("DROP VIEW marts.account_summary")
                connection.execute("CREATE TABLE marts.account_summary AS SELECT 42 AS answer")
            before = older_system.contents(path)
            for command in (run, ("plan", "--restate-model", MARTS[1], *AT_ONCE)):
                ended = plain_sqlmesh(PROJECT_ROOT, *command)
                assert ended.returncode == 1, ended.stdout
                assert "it writes to: marts.account_summary. Nothing was written." in ended.stdout
                assert older_system.contents(path) == before

    def test_a_table_of_the_users_own_is_named_and_left_alone(self, desk: Desk) -> None:
        desk.lab.job.warehouse.execute("CREATE TABLE marts.my_own AS SELECT 42 AS answer")
        desk.lab.close()
        write_feeds(load_of(1), desk.lab.inputs)
        ended = CliRunner().invoke(cli, ["run", "--as-of", load_of(1).loaded_at.isoformat()])
        desk.lab.open()
        assert ended.exit_code == 0, ended.output
        assert "marts.my_own is not this project's" in ended.output
        assert desk.lab.rows("marts.my_own") == [{"answer": 42}]
        desk.reference.take(load_of(1))
        desk.assert_prod()
