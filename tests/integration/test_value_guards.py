"""Guards on values: a load that would empty or freeze the marts is refused, nothing is written, a mended file heals.

The files are well formed: nothing but their values is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from scripts.errors import FeedRefusedError
from scripts.pipeline import cli
from scripts.settings import NOTHING_ALLOWED, Allowed
from tests.feed_strategies import write_feeds
from tests.lab import (
    EVERYTHING_ALLOWED,
    LANDING,
    TABLES,
    Lab,
    Story,
    assert_same_tables,
    continued,
    environment_of,
    file_bytes,
    lab,
    newest,
    stored_tables,
    tell,
)
from tests.reference import Load

FIRST_AT = datetime(2024, 1, 15, 2)
DAY = timedelta(days=1)
KEYS = range(1, 31)
# Six of thirty have a loan, six accounts are checking accounts, three balances are zero.
CUSTOMERS = [(str(key), f"Name {key}", "yes" if key % 5 == 0 else "no") for key in KEYS]
ACCOUNTS = [
    (f"A{key}", str(key), "0.00" if key % 10 == 1 else f"73{key}.25", "checking" if key % 5 == 2 else "savings")
    for key in KEYS
]
GOOD = Load(FIRST_AT, CUSTOMERS, ACCOUNTS)


def customers(position: int, value: str) -> list[tuple[str, ...]]:
    return [altered(row, position, value) for row in CUSTOMERS]


def accounts(position: int, value: str) -> list[tuple[str, ...]]:
    return [altered(row, position, value) for row in ACCOUNTS]


def altered(row: tuple[str, ...], position: int, value: str) -> tuple[str, ...]:
    """The row with one field replaced; {} stands for what it held."""
    return (*row[:position], value.format(row[position]), *row[position + 1 :])


@dataclass(frozen=True)
class Case:
    """A faulty load, what its refusal says, and the flag that lets it pass.

    Attributes:
        removals: The keys differ from the known ones: the guard on removals would stop it before.
    """

    load: Load
    said: tuple[str, ...]
    flag: str = "--allow-quarantine"
    removals: bool = False


def case(
    *said: str,
    customer: Sequence[tuple[str, ...]] = CUSTOMERS,
    account: Sequence[tuple[str, ...]] = ACCOUNTS,
    removals: bool = False,
    flag: str = "--allow-quarantine",
) -> Case:
    return Case(Load(FIRST_AT + DAY, customer, account), said, flag, removals)


IN_QUARANTINE = "30 of the 30 new and changed rows (100%; at most 20% may) would be quarantined for one reason"
HELD_BACK = "30 of the 30 valid accounts (100%; at most 20% may) would be held back"

# Whatever was known before.
ON_ANY_LOAD = {
    "balances with a decimal comma": case(
        "accounts.csv: ", IN_QUARANTINE, "balance invalid 30", account=accounts(2, "100,00"),
    ),
    "owners with a decimal": case(
        "accounts.csv: ", IN_QUARANTINE, "customer id invalid 30", account=accounts(1, "{}.0"),
    ),
    "zero-padded owners": case(
        "accounts.csv: ", IN_QUARANTINE, "customer id invalid 30", account=accounts(1, "00{}"),
    ),
    "zero-padded customers": case(
        "Customer.csv: ", IN_QUARANTINE, "customer id invalid 30", customer=customers(0, "00{}"), removals=True,
    ),
    "owners that are nobody": case(HELD_BACK, "customer unknown 30", account=accounts(1, "9{}")),
    "several reasons": case(
        "accounts.csv: ", IN_QUARANTINE, "All reasons: balance invalid 30, account type missing 12",
        account=[altered(row, 3, "") if int(row[1]) > 18 else row for row in accounts(2, "100,00")],
    ),
}  # fmt: skip
# Against what was known before.
ON_A_LATER_LOAD = {
    "customers that are others": case(HELD_BACK, "customer gone 30", customer=customers(0, "9{}"), removals=True),
    "savings accounts turned to checking accounts": case(
        "marts.account_summary would lose 24 of its 24 rows (100%; at most 20% may)", "no longer savings 24",
        account=accounts(3, "checking"),
    ),
    "accounts moved to one customer": case(
        "marts.customer_profile would lose 23 of its 24 rows (96%; at most 20% may)", "no savings account left 23",
        account=accounts(1, "1"),
    ),
    "loan flags that are blank": case(
        "Customer.csv: the column HasLoan is without a value in 100% of the rows; before it was in 0%",
        customer=customers(2, ""), flag="--allow-shift",
    ),
    "loan flags that say they are absent": case("column HasLoan", customer=customers(2, " N/A "), flag="--allow-shift"),
    "balances of zero": case(
        "accounts.csv: the column Balance is zero or without a value in 100% of the rows; before it was in 10%",
        "at most 50%", account=accounts(2, "0.00"), flag="--allow-shift",
    ),
}  # fmt: skip
FIRST_CUSTOMERS_ARE_OTHERS = case(HELD_BACK, "customer unknown 30", customer=customers(0, "9{}"))


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """The good load, through to the marts and the exports."""
    return tell(tmp_path_factory.mktemp("story"), [GOOD])


@pytest.fixture(scope="module")
def base(story: Story, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab that goes on from there; a refusal leaves it as it is."""
    with continued(story, tmp_path_factory.mktemp("base")) as (current, _):
        yield current


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab that has taken nothing and planned nothing."""
    with lab(tmp_path_factory.mktemp("empty")) as current:
        yield current


def refusal(current: Lab, load: Load, allowed: Allowed = NOTHING_ALLOWED) -> str:
    """The message with which a load is refused, again when it is sent again; nothing is written."""
    write_feeds(load, current.inputs)
    messages = []
    for _ in range(2):
        with pytest.raises(FeedRefusedError) as refused:
            current.ingest(load.loaded_at, allowed=allowed)
        assert refused.value.exit_code == 3
        messages.append(str(refused.value))
    assert messages[0] == messages[1]
    return messages[0]


def assert_tells_all(message: str, expected: Case) -> None:
    for said in (*expected.said, "Nothing was written", expected.flag):
        assert said in message
    setting = "MAX_COLUMN_SHIFT" if expected.flag == "--allow-shift" else "MAX_QUARANTINED_SHARE"
    assert setting in message
    for secret in ("Name 1", "100,00", ".25"):
        assert secret not in message, "names and balances are nobody's business"


@pytest.mark.parametrize("name", [*ON_ANY_LOAD, *ON_A_LATER_LOAD])
def test_a_faulty_load_is_refused_and_history_marts_and_exports_stay(base: Lab, story: Story, name: str) -> None:
    expected = {**ON_ANY_LOAD, **ON_A_LATER_LOAD}[name]
    landing, files = base.tables(LANDING), file_bytes(base.folder / "outputs")
    message = refusal(base, expected.load, Allowed(removals=expected.removals))
    assert_tells_all(message, expected)
    assert_same_tables(story.after[-1], base.tables())
    assert_same_tables(landing, base.tables(LANDING))
    assert file_bytes(base.folder / "outputs") == files


@pytest.mark.parametrize("name", [*ON_ANY_LOAD, "customers that are others"])
def test_a_faulty_first_load_is_refused_too(empty: Lab, name: str) -> None:
    expected = {**ON_ANY_LOAD, "customers that are others": FIRST_CUSTOMERS_ARE_OTHERS}[name]
    assert_tells_all(refusal(empty, expected.load), expected)
    assert all(rows == [] for rows in empty.tables(LANDING).values())


@pytest.mark.parametrize("name", ["balances with a decimal comma", "customers that are others"])
def test_an_allowed_load_is_taken_as_it_is(story: Story, tmp_path: Path, name: str) -> None:
    faulty = {**ON_ANY_LOAD, **ON_A_LATER_LOAD}[name]
    allowed = Allowed(removals=faulty.removals, quarantine=True)
    with continued(story, tmp_path) as (current, reference):
        write_feeds(faulty.load, current.inputs)
        current.ingest(faulty.load.loaded_at, allowed=allowed)
        current.transform(faulty.load.loaded_at)
        reference.take(faulty.load)
        current.assert_equals(reference)
        # What was taken is no news to the next load: no flag is needed any more.
        write_feeds(replace(faulty.load, customer=[*faulty.load.customer, ("77", "New", "no")]), current.inputs)
        assert [load.new_count for load in current.ingest(newest(reference) + DAY, allowed=NOTHING_ALLOWED)] == [1, 0]


class TestCommandLine:
    def invoke(self, folder: Path, load: Load, *arguments: str) -> Result:
        write_feeds(load, folder / "inputs")
        with environment_of(folder):
            return CliRunner().invoke(cli, ["run", "--as-of", load.loaded_at.isoformat(), *arguments])

    def test_a_stopped_run_ends_with_3_and_the_mended_file_heals_without_a_flag(
        self, story: Story, tmp_path: Path
    ) -> None:
        with continued(story, tmp_path) as (current, reference):
            current.close()
        faulty = ON_ANY_LOAD["balances with a decimal comma"].load
        files = file_bytes(tmp_path / "outputs")
        stopped = self.invoke(tmp_path, faulty)
        assert stopped.exit_code == 3, stopped.output
        assert "--allow-quarantine" in stopped.output
        assert file_bytes(tmp_path / "outputs") == files
        assert_same_tables(story.after[-1], stored_tables(tmp_path))
        mended = replace(faulty, account=accounts(2, "100.00"))
        healed = self.invoke(tmp_path, mended)
        assert healed.exit_code == 0, healed.output
        reference.take(mended)
        assert_same_tables(reference.tables(), stored_tables(tmp_path, TABLES))
        assert file_bytes(tmp_path / "outputs") != files

    def test_the_flag_that_the_message_names_lets_the_load_pass(self, story: Story, tmp_path: Path) -> None:
        with continued(story, tmp_path) as (current, reference):
            current.close()
        faulty = ON_A_LATER_LOAD["loan flags that are blank"]
        passed = self.invoke(tmp_path, faulty.load, faulty.flag)
        assert passed.exit_code == 0, passed.output
        reference.take(faulty.load)
        assert_same_tables(reference.tables(), stored_tables(tmp_path))


class TestWhatIsNoFault:
    def test_a_share_up_to_the_limit(self, empty: Lab) -> None:
        some = [altered(row, 2, "100,00") if int(row[1]) <= 7 else row for row in ACCOUNTS]
        message = refusal(empty, replace(GOOD, account=some))
        assert "7 of the 30 new and changed rows (23%; at most 20% may)" in message
        assert "balance invalid 7." in message
        unowned = [altered(row, 1, "9{}") if int(row[1]) <= 7 else row for row in ACCOUNTS]
        assert "7 of the 30 valid accounts (23%; at most 20% may)" in refusal(empty, replace(GOOD, account=unowned))

    def test_six_of_thirty_with_a_fault(self, tmp_path: Path) -> None:
        with lab(tmp_path) as current:
            some = [altered(row, 2, "100,00") if int(row[1]) <= 6 else row for row in ACCOUNTS]
            write_feeds(replace(GOOD, account=some), current.inputs)
            assert [load.new_count for load in current.ingest(FIRST_AT, allowed=NOTHING_ALLOWED)] == [30, 30]

    def test_fewer_than_twenty_rows_say_nothing(self, tmp_path: Path) -> None:
        with lab(tmp_path) as current:
            for number, account in enumerate((accounts(2, "100,00"), accounts(1, "9{}"), accounts(2, "0"))):
                load = Load(FIRST_AT + number * DAY, CUSTOMERS[:19], account[:19])
                write_feeds(load, current.inputs)
                current.ingest(load.loaded_at, allowed=NOTHING_ALLOWED)
            assert current.count("landing.load") == 6

    def test_settings_of_one_turn_the_guards_off(self, story: Story, tmp_path: Path) -> None:
        with continued(story, tmp_path, MAX_QUARANTINED_SHARE="1", MAX_COLUMN_SHIFT="1") as (current, _):
            for number, account in enumerate((accounts(2, "100,00"), accounts(1, "9{}"), accounts(2, "0"))):
                write_feeds(Load(FIRST_AT, CUSTOMERS, account), current.inputs)
                current.ingest(FIRST_AT + (number + 1) * DAY, allowed=NOTHING_ALLOWED)
            assert current.count("landing.load") == 8

    def test_accounts_that_leave_are_for_the_guard_on_removals_to_judge(self, story: Story, tmp_path: Path) -> None:
        with continued(story, tmp_path) as (current, _):
            write_feeds(Load(FIRST_AT, CUSTOMERS, ACCOUNTS[:15]), current.inputs)
            assert [load.gone_count for load in current.ingest(FIRST_AT + DAY, allowed=NOTHING_ALLOWED)] == [0, 15]
            write_feeds(Load(FIRST_AT, CUSTOMERS[:3], ACCOUNTS[:3]), current.inputs)
            loads = current.ingest(FIRST_AT + 2 * DAY, allowed=Allowed(removals=True))
            assert [load.gone_count for load in loads] == [27, 12]

    def test_the_same_values_in_other_words(self, story: Story, tmp_path: Path) -> None:
        """A loan flag of 0 says no, and most of the rows are others than before."""
        words = {"yes": "1", "no": "0"}
        customer = [(key, name, words[flag]) for key, name, flag in CUSTOMERS]
        with continued(story, tmp_path) as (current, _):
            write_feeds(Load(FIRST_AT, customer, ACCOUNTS), current.inputs)
            assert [load.changed_count for load in current.ingest(FIRST_AT + DAY, allowed=NOTHING_ALLOWED)] == [30, 0]


def test_loads_that_history_has_not_seen_yet_count_as_known(story: Story, tmp_path: Path) -> None:
    """Ingested one after the other without a run between, the first of them before the first plan or after it."""
    more_customers = [*CUSTOMERS, *customers(0, "9{}")]
    more_accounts = [*ACCOUNTS, *[(f"B{key}", f"9{key}", "5", "savings") for key in KEYS]]
    loads = [
        Load(FIRST_AT + DAY, more_customers, ACCOUNTS),
        Load(FIRST_AT + 2 * DAY, more_customers, more_accounts),
    ]
    with lab(tmp_path / "unplanned") as unplanned, continued(story, tmp_path / "planned") as (planned, _):
        write_feeds(GOOD, unplanned.inputs)
        unplanned.ingest(FIRST_AT, allowed=NOTHING_ALLOWED)
        for current in (unplanned, planned):
            for load in loads:
                write_feeds(load, current.inputs)
                current.ingest(load.loaded_at, allowed=NOTHING_ALLOWED)
            gone = Load(FIRST_AT + 3 * DAY, CUSTOMERS, more_accounts)
            assert "customer gone 30" in refusal(current, gone), "half of the accounts are theirs"
            current.ingest(gone.loaded_at, allowed=EVERYTHING_ALLOWED)
            late = replace(gone, loaded_at=FIRST_AT + 4 * DAY, customer=[*CUSTOMERS, ("500", "Late", "no")])
            write_feeds(late, current.inputs)
            current.ingest(late.loaded_at, allowed=NOTHING_ALLOWED)
