"""Change data capture from the feeds to the marts: what a change touches, what it leaves alone, when it arrives."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from scripts.clock import hour_of
from tests.lab import LANDING, Lab, Story, continued, copy_project, lab, newest, select, tell
from tests.reference import DEFAULT_TIERS, Load, Reference, Tier

START = datetime(2024, 1, 15, 2, 10, 0, 500)
TIMES = [START, START + timedelta(days=1), START + timedelta(days=2, hours=3)]

# What the file of each load holds for a key; None: the key is not in it. The customers are one case each.
CUSTOMERS: dict[str, list[tuple[str, str] | None]] = {
    "1": [("Only The Loan Flag", "no"), ("Only The Loan Flag", "yes"), ("Only The Loan Flag", "no")],
    "2": [("One Of Two Accounts", "no")] * 3,
    "3": [("Last Account Deleted", "no")] * 3,
    "4": [("One Account Deleted", "no")] * 3,
    "5": [("To Checking And Back", "no")] * 3,
    "6": [("Gives An Account", "yes")] * 3,
    "7": [("Gets An Account", "no")] * 3,
    "8": [("Deleted And Returns", "no"), None, ("Deleted And Returns", "yes")],
    "9": [("Checking Only", "no"), ("Checking Only Renamed", "no"), ("Checking Only", "yes")],
    "10": [("Before", "no"), ("After", "no"), ("After", "no")],
    "11": [("Never Touched", "yes")] * 3,
    "12": [None, ("Arrives With Account", "no"), None],
    "13": [None, None, ("Arrives After Its Account", "no")],
    "14": [("Changes With Its Account", "no"), ("Changes With Its Account", "yes"), None],
}
ACCOUNTS: dict[str, list[tuple[str, str, str] | None]] = {
    "A01a": [("1", "100", "savings")] * 3,
    "A01b": [("1", "10000", "savings")] * 3,
    "A02a": [("2", "100", "savings"), ("2", "200", "savings"), ("2", "200", "savings")],
    "A02b": [("2", "300", "savings")] * 3,
    "A03": [("3", "100", "savings"), None, None],
    "A04a": [("4", "100", "savings"), None, ("4", "100", "savings")],
    "A04b": [("4", "400", "savings")] * 3,
    "A05": [("5", "100", "savings"), ("5", "100", "checking"), ("5", "100", "savings")],
    "A06": [("6", "100", "savings"), ("7", "100", "savings"), ("99", "100", "savings")],
    "A06stays": [("6", "7", "savings")] * 3,
    "A07": [("7", "50", "checking")] * 3,
    "A08": [("8", "100", "savings")] * 3,
    "A09": [("9", "100", "checking")] * 3,
    "A10": [("10", "100", "savings")] * 3,
    "A11": [("11", "20000", "savings")] * 3,
    "A12": [None, ("12", "100", "savings"), None],
    "A13": [("11", "5", "savings"), ("13", "5", "savings"), ("13", "5", "savings")],
    "A14": [("14", "100", "savings"), ("14", "20000", "savings"), None],
}


def load_number(number: int, loaded_at: datetime, **balances: str) -> Load:
    """What the journeys hold for a load; `balances` replaces some accounts' balances."""
    customers = [(key, *states[number]) for key, states in CUSTOMERS.items() if states[number]]  # type: ignore[misc]
    accounts = []
    for key, states in ACCOUNTS.items():
        state = states[number]
        if state:
            accounts.append((key, state[0], balances.get(key, state[1]), state[2]))
    return Load(loaded_at, customers, accounts)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    loads = [load_number(number, time) for number, time in enumerate(TIMES)]
    return tell(tmp_path_factory.mktemp("cdc"), loads)


def summary(story: Story, load: int, account_id: str) -> dict[str, Any] | None:
    return story.row(load, "marts.account_summary", account_id=account_id)


def profile(story: Story, load: int, customer_id: int) -> dict[str, Any] | None:
    return story.row(load, "marts.customer_profile", customer_id=customer_id)


def present(row: dict[str, Any] | None) -> dict[str, Any]:
    assert row is not None, "the mart has no such row"
    return row


class TestCases:
    """Each case that the older system gets wrong, or right only because it versions every row at every run."""

    def test_only_the_loan_flag_changes(self, story: Story) -> None:
        rates = [present(summary(story, load, "A01a"))["interest_rate_pct"] for load in range(3)]
        assert rates == [Decimal("0.0100"), Decimal("0.0150"), Decimal("0.0100")]
        assert present(profile(story, 1, 1))["has_loan_flag"] is True
        assert present(profile(story, 1, 1))["total_annual_interest_amount"] == Decimal("201.50")
        assert present(summary(story, 1, "A01b"))["calculated_at"] == TIMES[1]

    def test_one_of_two_accounts_changes(self, story: Story) -> None:
        assert present(profile(story, 1, 2))["total_balance_amount"] == Decimal("500.00")
        assert present(profile(story, 1, 2))["total_accounts_count"] == 2
        assert present(summary(story, 1, "A02a"))["calculated_at"] == TIMES[1]
        assert present(summary(story, 1, "A02b"))["calculated_at"] == TIMES[0], "the other account was not touched"

    def test_a_deleted_account_leaves_the_marts(self, story: Story) -> None:
        assert summary(story, 1, "A03") is None
        assert profile(story, 1, 3) is None, "the customer holds no account any more"
        assert present(profile(story, 1, 4))["total_accounts_count"] == 1
        assert present(profile(story, 2, 4))["total_balance_amount"] == Decimal("500.00"), "the account returned"

    def test_an_account_turns_to_checking_and_back(self, story: Story) -> None:
        assert summary(story, 1, "A05") is None
        assert profile(story, 1, 5) is None
        assert present(summary(story, 2, "A05"))["calculated_at"] == TIMES[2]
        assert present(profile(story, 2, 5))["total_balance_amount"] == Decimal("100.00")

    def test_an_account_moves_to_another_customer(self, story: Story) -> None:
        assert present(profile(story, 0, 6))["total_balance_amount"] == Decimal("107.00")
        assert present(profile(story, 1, 6))["total_balance_amount"] == Decimal("7.00")
        assert present(profile(story, 1, 7))["total_balance_amount"] == Decimal("100.00")
        assert present(summary(story, 1, "A06"))["interest_rate_pct"] == Decimal("0.0100"), "the new owner has no loan"

    def test_an_account_moves_to_a_customer_that_does_not_exist(self, story: Story) -> None:
        assert summary(story, 2, "A06") is None
        assert profile(story, 2, 7) is None
        assert profile(story, 2, 99) is None

    def test_an_account_arrives_before_its_customer(self, story: Story) -> None:
        assert summary(story, 1, "A13") is None
        assert present(summary(story, 2, "A13"))["customer_id"] == 13
        assert present(profile(story, 2, 13))["customer_name"] == "Arrives After Its Account"

    def test_a_customer_is_deleted_and_returns(self, story: Story) -> None:
        assert summary(story, 1, "A08") is None
        assert profile(story, 1, 8) is None
        assert present(profile(story, 2, 8))["total_accounts_count"] == 1
        assert present(summary(story, 2, "A08"))["interest_rate_pct"] == Decimal("0.0150"), "it returned with a loan"

    def test_customer_and_account_change_and_go_together(self, story: Story) -> None:
        assert present(summary(story, 1, "A14"))["annual_interest_amount"] == Decimal("500.00")
        assert summary(story, 2, "A14") is None
        assert profile(story, 2, 14) is None
        assert present(profile(story, 1, 12))["total_accounts_count"] == 1
        assert profile(story, 2, 12) is None

    def test_a_name_alone_reaches_the_profile(self, story: Story) -> None:
        assert [present(profile(story, load, 10))["customer_name"] for load in range(3)] == ["Before", "After", "After"]
        assert present(profile(story, 2, 10))["calculated_at"] == TIMES[1]

    def test_checking_accounts_reach_no_mart(self, story: Story) -> None:
        for load in range(3):
            assert summary(story, load, "A09") is None
            assert profile(story, load, 9) is None

    def test_what_no_change_touches_keeps_its_calculated_at(self, story: Story) -> None:
        for load in (1, 2):
            accounts = select(story.after[load]["marts.account_summary"], calculated_at=TIMES[0])
            assert {row["account_id"] for row in accounts} == {"A02b", "A04b", "A06stays", "A11"}, f"after load {load}"
        assert select(story.after[1]["marts.customer_profile"], calculated_at=TIMES[0]) == []
        assert present(profile(story, 2, 2))["calculated_at"] == TIMES[1]


class TestPlainSqlmeshRun:
    def test_a_plain_run_after_an_ingest_brings_the_load_to_the_marts(self, story: Story, tmp_path: Path) -> None:
        """What cron does with `sqlmesh run`: every minute, a bit after it, without our script."""
        with continued(story, tmp_path) as (going_on, reference):
            for gap in (timedelta(days=1), timedelta(minutes=4)):
                load = load_number(2, newest(reference) + gap, A11=str(30_000 + gap.total_seconds()))
                reference.take(load)
                going_on.land(load)
                going_on.job.project.context.run(execution_time=load.loaded_at + timedelta(seconds=67))
                going_on.assert_equals(reference)
            # The script goes on where the plain runs ended.
            load = load_number(1, newest(reference) + timedelta(hours=1))
            reference.take(load)
            going_on.take(load)
            going_on.assert_equals(reference)

    def test_a_plain_plan_and_run_work_before_the_first_ingest(self, tmp_path: Path) -> None:
        with lab(tmp_path) as fresh:
            context = fresh.job.project.context
            context.plan(execution_time=START - timedelta(days=1), no_prompts=True, auto_apply=True, skip_tests=True)
            empty = fresh.tables(LANDING)
            assert not any(empty.values()), "the plan makes the landing zone and puts nothing into it"
            reference = Reference()
            load = load_number(0, START)
            reference.take(load)
            fresh.land(load)
            context.run(execution_time=START + timedelta(seconds=67))
            fresh.assert_equals(reference)


@pytest.fixture(scope="module")
def going_on(story: Story, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Lab, Reference]]:
    """A lab that goes on from the story; each test brings it to the end of a run of ours."""
    with continued(story, tmp_path_factory.mktemp("windows")) as current:
        yield current


class TestWindows:
    """Which windows a later run evaluates: not the first load's once more, but in any doubt."""

    def next_day(
        self, current: Lab, reference: Reference, rates: Sequence[Tier] = DEFAULT_TIERS
    ) -> dict[str, list[tuple[datetime, datetime]]]:
        """A run of a load a day later, at these rates: the windows that it evaluates."""
        load = load_number(2, newest(reference) + timedelta(days=1), A11="777")
        reference.take(load)
        if rates != reference.tiers:
            reference.change_rates(rates)
        with current.evaluated_windows() as windows:
            current.take(load)
        current.assert_equals(reference)
        return windows

    def test_a_run_in_a_later_hour_does_not_evaluate_the_last_load_again(self, going_on: tuple[Lab, Reference]) -> None:
        current, reference = going_on
        hour_after = hour_of(newest(reference)) + timedelta(hours=1)
        windows = self.next_day(current, reference)
        incremental = [model for model in windows if model.split(".")[0] in ("staging", "snapshots", "marts")]
        assert len(incremental) == 10
        assert {start for model in incremental for start, _ in windows[model]} == {hour_after}

    def test_a_load_that_came_into_the_hour_after_the_run_is_evaluated(self, going_on: tuple[Lab, Reference]) -> None:
        current, reference = going_on
        hour = hour_of(newest(reference))
        late = load_number(2, newest(reference) + timedelta(minutes=5), A11="666")
        reference.take(late)
        current.land(late)
        windows = self.next_day(current, reference)
        assert min(windows["staging.judged_account"])[0] == hour
        assert min(windows["marts.account_summary"])[0] == hour

    def test_an_hour_that_another_run_touched_is_evaluated_again(self, going_on: tuple[Lab, Reference]) -> None:
        current, reference = going_on
        hour = hour_of(newest(reference))
        current.job.project.context.run(execution_time=newest(reference) + timedelta(minutes=7))
        windows = self.next_day(current, reference)
        assert min(windows["staging.judged_account"])[0] == hour

    def test_a_changed_model_is_evaluated_for_every_load(
        self, story: Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        project = tmp_path / "project"
        copy_project(project)
        monkeypatch.setattr("scripts.project.transform.PROJECT_ROOT", project)
        with continued(story, tmp_path / "lab") as (current, reference):
            # To SQLMesh a copy's macros, read in the same process, are others than the original's.
            current.transform(None)
            current.close()
            seed = project / "seeds" / "interest_rate_tier.csv"
            seed.write_text(seed.read_text().replace("20000.00,0.0200", "20000.00,0.0300"))
            tiers = (*DEFAULT_TIERS[:2], Tier(Decimal("20000.00"), Decimal("0.0300"), Decimal("0.0050")))
            current.open()
            windows = self.next_day(current, reference, tiers)
            assert min(windows["marts.account_summary"])[0] < TIMES[0]
            assert min(windows["staging.judged_account"])[0] > TIMES[0], "staging does not depend on the seed"
            row = select(current.rows("marts.account_summary"), account_id="A11")[0]
            assert row["interest_rate_pct"] == Decimal("0.0150"), "the balance is 777 now, and the customer has a loan"


class TestReaders:
    """A statement is seen by readers whole or not at all, but nothing holds two of them together on Databricks."""

    def test_a_run_changes_a_mart_by_one_statement(self, story: Story, tmp_path: Path) -> None:
        with continued(story, tmp_path) as (current, reference):
            # Accounts that leave, and one that is never in the marts, for its customer is not known.
            base = load_number(0, newest(reference) + timedelta(days=1))
            accounts = [row for row in base.account if row[0] != "A11"] + [("A99", "99", "5", "savings")]
            load = Load(base.loaded_at, base.customer, accounts)
            reference.take(load)
            with current.writes() as writes:
                current.take(load)
            current.assert_equals(reference)
            assert writes["marts.account_summary"] == ["MERGE"]
            assert writes["marts.customer_profile"] == ["MERGE"]
            assert not select(current.rows("marts.account_summary"), account_id="A11")

    def test_a_restatement_replaces_a_mart_by_one_statement(self, story: Story, tmp_path: Path) -> None:
        """Of a part of the time, too: a mart's row rests on the latest event of all."""
        with continued(story, tmp_path) as (current, reference), current.writes() as writes:
            current.job.project.context.plan(
                "prod",
                restate_models=["marts.account_summary"],
                start=TIMES[0].date(),
                end=TIMES[1].date(),
                execution_time=newest(reference) + timedelta(minutes=5),
                no_prompts=True,
                auto_apply=True,
                skip_tests=True,
            )
            current.assert_equals(reference)
        assert writes == {"marts.account_summary": ["CREATE"], "marts.customer_profile": ["CREATE"]}
