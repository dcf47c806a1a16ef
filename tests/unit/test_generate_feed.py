"""The made-up feeds: equal arguments give equal bytes, the shares are kept, and dirt is as said."""

import csv
import re
from collections import Counter
from datetime import date
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner

from scripts.feeds import ACCOUNT, CUSTOMER, Feed
from tools.generate_feed import DAYS_AWAY, FeedPlan, main, write_feeds

ACCOUNTS = 20_000
CLEAN = {
    CUSTOMER: re.compile(r'[1-9]\d*,([^,"]+|"[^,"]+, [^,"]+"),(Yes|No)'),
    ACCOUNT: re.compile(r"A\d{8},[1-9]\d*,\d+\.\d\d,(Savings|Checking)"),
}


def generate(out: Path, days: int = 1, threads: int | None = None, **plan: float) -> FeedPlan:
    """Writes the feeds of ACCOUNTS accounts to `out`."""
    made = FeedPlan(ACCOUNTS, **plan)  # type: ignore[arg-type]
    assert len(list(write_feeds(made, days, out, threads))) == 2 * days
    return made


def contents(out: Path) -> dict[str, bytes]:
    """Bytes of every file under a folder, by relative path."""
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def lines(out: Path, day: str, feed: Feed) -> list[str]:
    """The data lines of one file."""
    text = (out / day / feed.file_name).read_bytes().decode("utf-8")
    assert text.endswith("\n")
    header, *rest = text.removesuffix("\n").split("\n")
    assert header == ",".join(feed.header)
    return rest


def by_key(data_lines: list[str]) -> dict[str, list[str]]:
    """The lines of each key."""
    keyed: dict[str, list[str]] = {}
    for line in data_lines:
        keyed.setdefault(line.split(",")[0].strip(), []).append(line)
    return keyed


def test_same_arguments_give_the_same_bytes_with_any_number_of_threads(tmp_path: Path) -> None:
    for threads in (1, 2, 5):
        generate(tmp_path / str(threads), days=2, threads=threads)
    one, two, five = (contents(tmp_path / name) for name in ("1", "2", "5"))
    assert sorted(one) == [f"2024-01-0{day}/{name}" for day in (1, 2) for name in ("Customer.csv", "accounts.csv")]
    assert one == two == five


def test_another_seed_gives_another_feed(tmp_path: Path) -> None:
    generate(tmp_path / "one", seed=1)
    generate(tmp_path / "two", seed=2)
    one, two = contents(tmp_path / "one"), contents(tmp_path / "two")
    assert all(one[name] != two[name] for name in one)


def test_longer_sequence_begins_with_the_shorter_one(tmp_path: Path) -> None:
    generate(tmp_path / "long", days=4)
    generate(tmp_path / "short", days=2)
    long = contents(tmp_path / "long")
    assert contents(tmp_path / "short").items() < long.items()


@pytest.mark.parametrize("feed", [CUSTOMER, ACCOUNT], ids=lambda feed: feed.name)
@pytest.mark.parametrize("change", [0.02, 0.1, 0.5])
def test_each_day_differs_from_the_day_before_by_the_change_share(tmp_path: Path, feed: Feed, change: float) -> None:
    generate(tmp_path, days=3, change_share=change)
    days = [by_key(lines(tmp_path, f"2024-01-0{day}", feed)) for day in (1, 2, 3)]
    for before, after in pairwise(days):
        both = before.keys() & after.keys()
        changed = sum(before[key] != after[key] for key in both)
        gone, new = len(before.keys() - both), len(after.keys() - both)
        assert (changed + gone + new) / len(before) == pytest.approx(change, rel=0.15)
        assert 0 < gone < changed / 4
        assert 0 < new < changed / 4


def test_nothing_changes_without_a_change_share(tmp_path: Path) -> None:
    generate(tmp_path, days=2, change_share=0.0, dirty_share=0.2)
    for feed in (CUSTOMER, ACCOUNT):
        assert lines(tmp_path, "2024-01-01", feed) == lines(tmp_path, "2024-01-02", feed)


def test_feed_without_dirt_is_well_formed_and_half_as_many_customers(tmp_path: Path) -> None:
    generate(tmp_path, dirty_share=0.0)
    for feed, count in ((CUSTOMER, ACCOUNTS // 2), (ACCOUNT, ACCOUNTS)):
        data = lines(tmp_path, "2024-01-01", feed)
        assert len(data) == len(by_key(data)) == count
        assert [line for line in data if not CLEAN[feed].fullmatch(line)] == []
        assert {len(fields) for fields in csv.reader(data)} == {len(feed.header)}


def test_accounts_spread_over_types_tiers_and_known_customers(tmp_path: Path) -> None:
    generate(tmp_path, dirty_share=0.0)
    accounts = list(csv.reader(lines(tmp_path, "2024-01-01", ACCOUNT)))
    types = Counter(account_type for *_, account_type in accounts)
    assert types["Savings"] / ACCOUNTS == pytest.approx(0.6, abs=0.02)
    balances = [float(balance) for _, _, balance, _ in accounts]
    assert sum(balance < 10_000 for balance in balances) / ACCOUNTS == pytest.approx(0.5, abs=0.02)
    assert sum(10_000 <= balance < 20_000 for balance in balances) / ACCOUNTS == pytest.approx(0.3, abs=0.02)
    assert {9999.99, 10_000.0, 19_999.99, 20_000.0} <= set(balances)
    known = {line.split(",")[0] for line in lines(tmp_path, "2024-01-01", CUSTOMER)}
    assert {customer for _, customer, _, _ in accounts} <= known


def test_customers_have_diverse_names_and_three_in_ten_a_loan(tmp_path: Path) -> None:
    generate(tmp_path, dirty_share=0.0)
    customers = list(csv.reader(lines(tmp_path, "2024-01-01", CUSTOMER)))
    names = {name for _, name, _ in customers}
    assert len(names) > 0.6 * len(customers)
    assert any(not name.isascii() for name in names)
    assert any(", " in name for name in names)
    assert sum(loan == "Yes" for *_, loan in customers) / len(customers) == pytest.approx(0.3, abs=0.02)


@pytest.mark.parametrize("feed", [CUSTOMER, ACCOUNT], ids=lambda feed: feed.name)
def test_dirty_share_of_the_keys_is_dirty_in_several_ways(tmp_path: Path, feed: Feed) -> None:
    generate(tmp_path, dirty_share=0.05)
    data = lines(tmp_path, "2024-01-01", feed)
    keyed = by_key(data)
    dirty = [rows for rows in keyed.values() if len(rows) > 1 or not CLEAN[feed].fullmatch(rows[0])]
    # The rows without a key are second lines of keys that are counted by their own line.
    assert len(dirty) / len(keyed) == pytest.approx(0.05, rel=0.15)
    assert any(row[0] == row[1] for row in dirty if len(row) == 2)
    conflicts = [rows for rows in dirty if len(rows) == 2 and rows[0] != rows[1]]
    assert any(rows[1].count(",") == len(feed.header) - 1 for rows in conflicts)
    malformed = [fields for fields in csv.reader(data) if len(fields) != len(feed.header)]
    assert 0 < len(malformed) < 0.01 * len(data)
    assert any(line.startswith(",") for line in data)


def test_bad_values_are_those_of_real_feeds(tmp_path: Path) -> None:
    generate(tmp_path, dirty_share=0.1)
    text = "\n".join(lines(tmp_path, "2024-01-01", ACCOUNT))
    for pattern in (
        r",N/A,",
        r",ABC,",
        r",-\d",
        r',"1,\d{3}\.\d\d",',
        r",,",
        r",C-\d",
        r",Investment$",
        r",$",
        r",SAVINGS$",
    ):
        assert re.search(pattern, text, re.M), pattern
    text = "\n".join(lines(tmp_path, "2024-01-01", CUSTOMER))
    for pattern in (r"^\d+,,", r",MAYBE$", r"^C-\d", r"^0\d", r",$", r",YES$", r"^ \d+,  \S+   \S"):
        assert re.search(pattern, text, re.M), pattern


def test_some_of_those_that_leave_come_back(tmp_path: Path) -> None:
    generate(tmp_path, days=2 + DAYS_AWAY, change_share=0.2, dirty_share=0.0)
    held = [by_key(lines(tmp_path, f"2024-01-0{day}", ACCOUNT)).keys() for day in range(1, 3 + DAYS_AWAY)]
    left = held[0] - held[1]
    back = left & held[1 + DAYS_AWAY]
    assert len(back) / len(left) == pytest.approx(0.25, abs=0.1)
    assert not any(left & day for day in held[1 : 1 + DAYS_AWAY])


def test_command_writes_the_days_from_the_first_day_on(tmp_path: Path) -> None:
    options = ["--accounts", "1", "--days", "2", "--first-day", "2023-12-31", "--out", str(tmp_path / "feeds")]
    result = CliRunner().invoke(main, options)
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in (tmp_path / "feeds").iterdir()) == ["2023-12-31", "2024-01-01"]
    assert FeedPlan(1, first_day=date(2023, 12, 31)).day_folder(tmp_path, 1) == tmp_path / "2024-01-01"
    assert len(lines(tmp_path / "feeds", "2023-12-31", CUSTOMER)) >= 1


@pytest.mark.parametrize("options", [["--accounts", "0"], ["--accounts", "5", "--change", "1.5"], ["--days", "3"]])
def test_command_refuses_what_makes_no_feed(tmp_path: Path, options: list[str]) -> None:
    result = CliRunner().invoke(main, [*options, "--out", str(tmp_path / "feeds")])
    assert result.exit_code == 2
    assert not (tmp_path / "feeds").exists()
