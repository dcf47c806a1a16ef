"""What could not be read is not gone: what a rejected line does to the keys that a file otherwise lacks."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from scripts.feeds import ACCOUNT, CUSTOMER
from scripts.pipeline import cli
from scripts.report.quality_report import build_report
from tests.lab import Lab, Story, continued, lab, select, tell
from tests.reference import Load

START = datetime(2024, 1, 15, 2)
DAY = timedelta(days=1)
# Small files, in which one line is soon a large share.
DIRT_ALLOWED = {"MAX_REJECTED_SHARE": "1"}
CUSTOMERS = [("1", "Ana", "no"), ("2", "Bob", "yes")]
ACCOUNTS = [(f"A{number}", "1", f"{number}00", "savings") for number in range(1, 6)]
# What each file holds of the accounts, and its line that can't be read.
FILES = [
    (ACCOUNTS, None),
    (ACCOUNTS[2:], "A1,1,100"),  # A1's line is damaged, A2 has left
    (ACCOUNTS[3:], '"A3,1,300,savings'),  # the key of A3's line can't be told, and A1 has none
    (ACCOUNTS[3:], '"A3,1,300,savings'),
]
NAMED, HIDDEN, RESENT = 1, 2, 3


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """Every table equals the reference after each of these loads."""
    loads = [
        Load(START + number * DAY, CUSTOMERS, accounts, {ACCOUNT.name: [line] if line else []})
        for number, (accounts, line) in enumerate(FILES)
    ]
    return tell(tmp_path_factory.mktemp("rejected"), loads, **DIRT_ALLOWED)


def open_accounts(story: Story, load_number: int) -> list[str]:
    versions = story.after[load_number]["snapshots.snap_account"]
    return sorted(row["account_id"] for row in select(versions, valid_to_at=None))


def unseen(story: Story, load_number: int) -> list[str]:
    rows = select(story.after[load_number]["landing.unseen"], loaded_at=story.loads[load_number].loaded_at)
    assert {row["feed"] for row in rows} <= {ACCOUNT.name}
    return sorted(row["record_key"] for row in rows)


def account_counts(story: Story, load_number: int) -> tuple[int, int, int]:
    (ledger,) = (ledger for ledger in story.ledgers[load_number] if ledger.feed == ACCOUNT.name)
    return ledger.unchanged_count, ledger.gone_count, ledger.rejected_count


def test_a_key_whose_line_was_rejected_keeps_its_version_and_its_mart_row(story: Story) -> None:
    assert "A1" in open_accounts(story, NAMED)
    before, after = (story.row(number, "marts.account_summary", account_id="A1") for number in (0, NAMED))
    assert after == before is not None


def test_a_rejected_line_that_names_its_key_keeps_no_other_key_open(story: Story) -> None:
    assert open_accounts(story, NAMED) == ["A1", "A3", "A4", "A5"]
    assert unseen(story, NAMED) == []
    assert account_counts(story, NAMED) == (3, 1, 1)


def test_a_line_whose_key_cannot_be_told_keeps_every_missing_key_open_and_on_record(story: Story) -> None:
    assert open_accounts(story, HIDDEN) == ["A1", "A3", "A4", "A5"]
    assert story.after[HIDDEN]["marts.account_summary"] == story.after[NAMED]["marts.account_summary"]
    assert unseen(story, HIDDEN) == ["A1", "A3"]
    assert account_counts(story, HIDDEN) == (2, 0, 1)


def test_the_same_file_once_more_keeps_them_open_and_on_record(story: Story) -> None:
    assert open_accounts(story, RESENT) == open_accounts(story, HIDDEN)
    assert unseen(story, RESENT) == ["A1", "A3"]
    assert account_counts(story, RESENT) == (2, 0, 1)


def test_report_and_status_list_them_until_the_next_sound_file_settles_each(story: Story, tmp_path: Path) -> None:
    with continued(story, tmp_path, **DIRT_ALLOWED) as (current, reference):
        assert not_seen(current) == {"customer": [], "account": ["A1", "A3"]}
        assert "2 accounts not seen in a file with unreadable lines: A1, A3" in status(current)

        load = Load(START + 4 * DAY, CUSTOMERS, [ACCOUNTS[0], *ACCOUNTS[3:]])
        reference.take(load)
        current.take(load)
        current.assert_equals(reference)
        assert [ledger.gone_count for ledger in current.job.record.loads] == [0, 1]
        (ended,) = select(current.rows("snapshots.snap_account"), account_id="A3")
        assert (ended["valid_to_at"], ended["is_deleted_flag"]) == (load.loaded_at, True)
        assert not_seen(current) == {"customer": [], "account": []}
        assert "0 accounts not seen in a file with unreadable lines" in status(current)


def test_a_sound_line_counts_where_the_key_has_a_rejected_one_too(tmp_path: Path) -> None:
    with lab(tmp_path, **DIRT_ALLOWED) as current:
        current.land(Load(START, CUSTOMERS, ACCOUNTS))
        renamed = [("1", "Anne", "no"), ("2", "Bob", "yes")]
        current.land(Load(START + DAY, renamed, ACCOUNTS, {CUSTOMER.name: ["1,Anna", "3,Cat"]}))
        (ledger, _) = current.job.record.loads
        assert (ledger.new_count, ledger.changed_count, ledger.unchanged_count, ledger.rejected_count) == (0, 1, 1, 2)
        (row,) = select(current.rows("landing.customer"), loaded_at=START + DAY)
        assert (row["change_type"], row["customer_name"]) == ("changed", "Anne")


def not_seen(current: Lab) -> dict[str, list[str]]:
    report = build_report(current.job.record, current.job.warehouse)
    assert report["problems"] == {}
    return {feed: content["sample_keys"] for feed, content in report["not_seen"].items()}


def status(current: Lab) -> str:
    current.close()
    try:
        return CliRunner().invoke(cli, ["status"]).output
    finally:
        current.open()
