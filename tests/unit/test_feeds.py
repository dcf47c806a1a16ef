"""The contracts of the feeds: what is read of them, and what is said of one that does not fit."""

from __future__ import annotations

import re
from pathlib import Path

import duckdb
import pytest

from scripts.errors import FeedRefusedError, SettingsError
from scripts.feeds import FEEDS, FOLDER, Feed, read_feeds
from scripts.ingest.reader import read_feed
from scripts.settings import PROJECT_ROOT
from tests.variants import BRANCH
from tools.external_models import external_models

ACCOUNT = (FOLDER / "account.yaml").read_text(encoding="utf-8")
BREACHES = {
    "a word that is none": (
        ("logicalType: number", "logicalTyp: number"),
        "schema.0.properties.2.logicalTyp: Extra inputs are not permitted",
    ),
    "a type that is none": (
        ("logicalType: number", "logicalType: money"),
        "schema.0.properties.2.logicalType: Input should be 'string' or 'number'",
    ),
    "a column without a description": (("description: Balance", "description: ''"), "properties.2.description: "),
    "a name that no engine takes as it is": (("name: balance", "name: Balance Now"), "schema.0.properties.2.name: "),
    "two columns of one name": (("name: balance", "name: account_id"), "there is another column account_id"),
    "a column that SQL takes for its own": (("name: balance", "name: order"), "order is a word of SQL"),
    "a column that the change log has": (("name: balance", "name: loaded_at"), "there is another column loaded_at"),
    "two columns of one header": (("physicalName: Balance", "physicalName: accountid"), "have the same name"),
    "no key": (("primaryKey: true", "primaryKey: false"), "one column is the primaryKey, and that one is required"),
    "a key that a file may lack": (("required: true", "required: false"), "and that one is required"),
    "another feed's name": (("  - name: account\n", "  - name: loan\n"), "name the file loan.yaml"),
    "what is no YAML": (("schema:", "schema: ]"), "is no YAML: "),
}


def feed_with_branch(folder: Path) -> Feed:
    (folder / "account.yaml").write_text(ACCOUNT.rstrip("\n") + BRANCH, encoding="utf-8")
    (feed,) = read_feeds(folder)
    return feed


@pytest.mark.parametrize(("edit", "said"), BREACHES.values(), ids=BREACHES.keys())
def test_a_contract_that_does_not_fit_is_named_with_place_and_fault(
    edit: tuple[str, str], said: str, tmp_path: Path
) -> None:
    text = ACCOUNT.replace(*edit, 1)
    assert text != ACCOUNT
    (tmp_path / "account.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError, match=rf"(?s)^feeds/account\.yaml.*{re.escape(said)}"):
        read_feeds(tmp_path)


def test_a_folder_without_contracts_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="declares no feed"):
        read_feeds(tmp_path)


def test_columns_keep_the_order_of_the_contract(tmp_path: Path) -> None:
    feed = feed_with_branch(tmp_path)
    assert feed.header == ("AccountID", "CustomerID", "Balance", "AccountType", "Branch")
    assert feed.columns == ("account_id", "customer_id", "balance", "account_type", "branch")
    assert (feed.key, feed.key_column, feed.amounts) == ("account_id", "account_key", ("balance",))


def test_external_models_are_those_of_the_landing_zone() -> None:
    written = (PROJECT_ROOT / "external_models.yaml").read_text(encoding="utf-8")
    assert written == external_models(), "run `python -m tools.external_models`"


class TestOptionalColumn:
    @pytest.mark.parametrize(
        ("text", "rows"),
        [
            ("AccountID,CustomerID,Balance,AccountType\nA1,1,5,savings\n", [("A1", "1", "5", "savings", "")]),
            ("Branch,AccountID,CustomerID,Balance,AccountType\nN,A1,1,5,savings\n", [("A1", "1", "5", "savings", "N")]),
            ('AccountID,CustomerID,Balance,AccountType\nA1,1,"5,0",savings\n', [("A1", "1", "5,0", "savings", "")]),
        ],
        ids=["lacking", "first", "lacking beside quotes"],
    )
    def test_a_file_may_have_it_anywhere_or_lack_it(
        self, text: str, rows: list[tuple[str, ...]], tmp_path: Path
    ) -> None:
        feed = feed_with_branch(tmp_path)
        (tmp_path / "accounts.csv").write_text(text, encoding="utf-8")
        with duckdb.connect() as connection:
            parsed = read_feed(connection, feed, tmp_path / "accounts.csv")
            assert connection.sql(f"FROM {parsed.rows_table}").fetchall() == rows

    def test_a_line_is_measured_by_the_columns_of_its_file(self, tmp_path: Path) -> None:
        feed = feed_with_branch(tmp_path)
        text = "AccountID,CustomerID,Balance,AccountType\n" + "A1,1,5,savings\n" * 20 + "A2,1,5,savings,North\n"
        (tmp_path / "accounts.csv").write_text(text, encoding="utf-8")
        with duckdb.connect() as connection:
            parsed = read_feed(connection, feed, tmp_path / "accounts.csv")
            (reject,) = connection.sql(f"SELECT line_number, reason FROM {parsed.rejects_table}").fetchall()
        assert reject == (22, "too_many_fields")

    def test_one_that_is_required_is_still_missed(self, tmp_path: Path) -> None:
        feed = feed_with_branch(tmp_path)
        (tmp_path / "accounts.csv").write_text("AccountID,CustomerID,AccountType\nA1,1,savings\n", encoding="utf-8")
        with (
            duckdb.connect() as connection,
            pytest.raises(FeedRefusedError, match=r"\(missing: Balance\)"),
        ):
            read_feed(connection, feed, tmp_path / "accounts.csv")


def test_a_column_that_no_contract_has_is_refused_with_the_way_to_take_it(tmp_path: Path) -> None:
    (feed,) = (feed for feed in FEEDS if feed.name == "account")
    path = tmp_path / "accounts.csv"
    path.write_text("AccountID,CustomerID,Balance,AccountType,Branch\nA1,1,5,savings,N\n", encoding="utf-8")
    with (
        duckdb.connect() as connection,
        pytest.raises(FeedRefusedError, match=r"not in the contract: Branch.*declared in feeds/account\.yaml"),
    ):
        read_feed(connection, feed, path)
