"""The contracts of the feeds and of the published tables: what is refused writes nothing and names its remedy; what is
ordinary passes; all is counted."""

from __future__ import annotations

import csv
import multiprocessing
import shutil
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import pytest
from click.testing import CliRunner, Result

from scripts.clock import utc_now
from scripts.errors import FeedRefusedError
from scripts.ingest.load import choose_loaded_at
from scripts.pipeline import cli
from scripts.settings import NOTHING_ALLOWED, Allowed
from tests.lab import LANDING, Lab, assert_same_tables, copy_project, environment_of, file_bytes, lab, select

START = datetime(2024, 1, 15, 2)
CUSTOMER = "CustomerID,Name,HasLoan\n"
ACCOUNT = "AccountID,CustomerID,Balance,AccountType\n"
CUSTOMERS = CUSTOMER + "".join(f"{number},Name {number},no\n" for number in range(1, 25))
ACCOUNTS = ACCOUNT + "".join(f"A{number},{number},100,savings\n" for number in range(1, 25))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab with one load through to the marts and exported; a refusal leaves it as it is."""
    with lab(tmp_path_factory.mktemp("contracts")) as current:
        send(current)
        current.ingest(START)
        current.transform(START)
        current.job.export()
        yield current


def send(current: Lab, customers: str | bytes = CUSTOMERS, accounts: str | bytes = ACCOUNTS) -> None:
    for name, content in (("Customer.csv", customers), ("accounts.csv", accounts)):
        path = current.inputs / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def refusal(
    current: Lab, as_of: datetime | None = START + timedelta(days=1), *, allowed: Allowed = NOTHING_ALLOWED
) -> str:
    """The message with which the load is refused, after checking that nothing was written and the exit code is 3."""
    before, files = current.tables(LANDING), file_bytes(current.folder / "outputs")
    with pytest.raises(FeedRefusedError) as refused:
        current.ingest(as_of, allowed=allowed)
    assert refused.value.exit_code == 3
    assert_same_tables(before, current.tables(LANDING))
    assert file_bytes(current.folder / "outputs") == files
    return str(refused.value)


class TestRefusedFiles:
    @pytest.mark.parametrize("name", ["Customer.csv", "accounts.csv"])
    def test_a_missing_file(self, base: Lab, name: str) -> None:
        send(base)
        (base.inputs / name).unlink()
        message = refusal(base)
        assert f"{base.inputs / name} is missing" in message
        assert f"there as {name}" in message

    def test_a_file_of_almost_the_right_name_is_pointed_out(self, base: Lab) -> None:
        send(base)
        (base.inputs / "accounts.csv").rename(base.inputs / "Account.csv")
        try:
            assert "Is it Account.csv? Then rename it to accounts.csv." in refusal(base)
        finally:
            (base.inputs / "Account.csv").unlink()

    def test_an_empty_file(self, base: Lab) -> None:
        send(base, customers="")
        message = refusal(base)
        assert "Customer.csv is empty (0 bytes)" in message
        assert "sent again" in message

    def test_a_header_without_data(self, base: Lab) -> None:
        send(base, accounts=ACCOUNT)
        message = refusal(base)
        assert "accounts.csv holds a header and no data lines" in message
        assert "sent again" in message

    @pytest.mark.parametrize(
        ("header", "said"),
        [
            ("AccountID,CustomerID,Balance", "missing: AccountType"),
            ("AccountID,CustomerID,Balance,AccountType,Branch", "not in the contract: Branch"),
            ("AccountID,CustomerID,Balance,Balance", "missing: AccountType; more than once: Balance"),
            ("AccountID,CustomerID,Amount,AccountType", "missing: Balance; not in the contract: Amount"),
            ("Amount,AccountType,AccountID,CustomerID", "missing: Balance; not in the contract: Amount"),
            ("AccountID;CustomerID;Balance;AccountType", "separated by a semicolon"),
            ("AccountID\tCustomerID\tBalance\tAccountType", "separated by a tab"),
        ],
    )
    def test_a_header_that_is_not_as_agreed(self, base: Lab, header: str, said: str) -> None:
        send(base, accounts=ACCOUNTS.replace(ACCOUNT, header + "\n"))
        message = refusal(base)
        assert "accounts.csv, line 1" in message
        assert said in message
        assert "AccountID,CustomerID,Balance,AccountType" in message, "the remedy names the agreed columns"

    def test_an_encoding_that_is_not_utf_8(self, base: Lab) -> None:
        send(base, customers=CUSTOMERS.replace("Name 3", "Ren\xe9").encode("latin-1"))
        message = refusal(base)
        assert "Customer.csv is not UTF-8 text: line 4 holds bytes" in message
        assert "UTF-8" in message
        assert "FEED_ENCODING" in message

    def test_a_setting_with_a_quote_in_it_is_text_and_nothing_else(self, tmp_path: Path) -> None:
        """Python takes it for UTF-8."""
        with lab(tmp_path, FEED_ENCODING="utf'8") as current:
            send(current)
            current.ingest(START)
            assert {row["encoding"] for row in current.rows("landing.load")} == {"utf'8"}

    def test_one_bad_file_keeps_the_good_one_out_too(self, base: Lab) -> None:
        send(base, customers=CUSTOMERS + "25,New,no\n", accounts=ACCOUNT)
        refusal(base)
        assert not select(base.rows("landing.customer"), customer_key="25")


class TestRefusedTimes:
    @pytest.mark.parametrize("as_of", [START, START - timedelta(hours=1)])
    def test_a_time_not_after_the_last_load(self, base: Lab, as_of: datetime) -> None:
        send(base, accounts=ACCOUNTS.replace("A7,7,100", "A7,7,101"))
        message = refusal(base, as_of)
        assert f"--as-of {as_of.isoformat()} is not after the last load, {START.isoformat()}" in message
        assert "give a later time" in message

    def test_a_time_in_the_future(self, base: Lab) -> None:
        send(base)
        message = refusal(base, utc_now() + timedelta(days=1))
        assert "lies in the future" in message
        assert "Give an earlier time" in message

    def test_a_time_before_the_models_begin(self) -> None:
        with pytest.raises(FeedRefusedError) as refused:
            choose_loaded_at(datetime(2019, 12, 31, 23, 59), last=None)
        assert "before 2020-01-01, where the models begin" in str(refused.value)
        assert "Give a later time" in str(refused.value)


class TestRefusedContent:
    def test_a_truncated_feed(self, base: Lab) -> None:
        send(base, accounts=ACCOUNT + "A1,1,100,savings\n")
        message = refusal(base)
        assert f"{base.inputs / 'accounts.csv'} lacks 23 of the 24 known keys" in message
        assert "--allow-removals" in message
        assert "MAX_REMOVED_SHARE" in message

    def test_half_of_the_keys_may_leave(self, tmp_path: Path) -> None:
        with lab(tmp_path) as current:
            send(current)
            current.ingest(START)
            lines = ACCOUNTS.splitlines(keepends=True)
            send(current, accounts="".join(lines[:13]))
            loads = current.ingest(START + timedelta(days=1), allowed=NOTHING_ALLOWED)
            assert [load.gone_count for load in loads] == [0, 12]
            # 12 keys are known now: too few for a share to say anything.
            send(current, accounts="".join(lines[:2]))
            loads = current.ingest(START + timedelta(days=2), allowed=NOTHING_ALLOWED)
            assert [load.gone_count for load in loads] == [0, 11]
            send(current, customers=CUSTOMER + "1,Name 1,no\n", accounts="".join(lines[:2]))
            refusal(current, START + timedelta(days=3))
            loads = current.ingest(START + timedelta(days=3), allowed=Allowed(removals=True))
            assert [load.gone_count for load in loads] == [23, 0]

    def test_a_truncated_feed_with_a_line_whose_key_cannot_be_told(self, base: Lab) -> None:
        send(base, accounts="".join(ACCOUNTS.splitlines(keepends=True)[:12]) + "A12")
        assert "lacks 13 of the 24 known keys" in refusal(base)

    def test_too_many_damaged_lines(self, base: Lab) -> None:
        send(base, accounts=ACCOUNTS + "A25,1,100\n" * 3)
        message = refusal(base)
        assert "3 of 27 data lines (11.1%) are damaged, more than the 10.0% allowed" in message
        assert "line 26: too_few_fields" in message
        assert "MAX_REJECTED_SHARE" in message


class TestCommandLine:
    """The same through the command: what the person at the keyboard gets."""

    def invoke(self, folder: Path, *arguments: str, **settings: str) -> Result:
        with environment_of(folder, **settings):
            return CliRunner().invoke(cli, list(arguments), catch_exceptions=False)

    def test_a_refused_run_ends_with_3_and_an_allowed_one_goes_through(self, base: Lab, tmp_path: Path) -> None:
        send(base, accounts=ACCOUNT + "A1,1,100,savings\n")
        base.job.warehouse.execute("CHECKPOINT")
        shutil.copytree(base.folder, tmp_path, dirs_exist_ok=True)
        before = file_bytes(tmp_path)
        result = self.invoke(tmp_path, "ingest", "--as-of", "2024-01-16T02:00:00")
        assert result.exit_code == 3, result.output
        assert "Stopped." in result.output
        assert "--allow-removals" in result.output
        assert "Traceback" not in result.output
        assert file_bytes(tmp_path).items() - before.items() == set(), "not one file was written, the database included"
        result = self.invoke(tmp_path, "ingest", "--as-of", "2024-01-16T02:00:00", "--allow-removals")
        assert result.exit_code == 0, result.output
        assert "23 keys gone" in result.output

    def test_what_is_no_time_is_wrong_usage(self, tmp_path: Path) -> None:
        result = self.invoke(tmp_path, "run", "--as-of", "yesterday")
        assert result.exit_code == 2
        assert "'yesterday' is no ISO 8601 time such as 2024-01-15T02:00:00 (UTC)" in result.output

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("DATABASE_TYPE", "oracle"),
            ("MAX_REMOVED_SHARE", "50%"),
            ("WARN_REMOVED_SHARE", "5%"),
            ("MAX_REJECTED_SHARE", "2"),
            ("MAX_QUARANTINED_SHARE", "-1"),
            ("MAX_COLUMN_SHIFT", "half"),
            ("LOCK_TIMEOUT", "a minute"),
            ("LOCK_TIMEOUT", "-1"),
            ("LOCK_TIMEOUT", "inf"),
        ],
    )
    def test_a_wrong_setting_ends_with_4_and_names_itself(self, tmp_path: Path, name: str, value: str) -> None:
        result = self.invoke(tmp_path, "run", **{name: value})
        assert result.exit_code == 4
        assert f"{name} is '{value}'" in result.output

    def test_a_database_in_use_by_another_process_ends_with_1_and_a_sentence(self, tmp_path: Path) -> None:
        context = multiprocessing.get_context("spawn")
        locked, done = context.Event(), context.Event()
        other = context.Process(target=hold, args=(str(tmp_path / "lending_club.duckdb"), locked, done))
        other.start()
        try:
            assert locked.wait(60)
            result = self.invoke(tmp_path, "run")
        finally:
            done.set()
            other.join(60)
        assert result.exit_code == 1, result.output
        assert f"Another process has {tmp_path / 'lending_club.duckdb'} open" in result.output
        assert "Close it and run again" in result.output
        assert "Traceback" not in result.output


class TestPublishedTables:
    def test_a_deploy_that_breaks_them_ends_with_4_before_anything_is_written_and_goes_through_with_breaking(
        self, base: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder, project, as_of = tmp_path / "lab", tmp_path / "project", ("--as-of", "2024-01-16T02:00:00")
        send(base, customers=CUSTOMERS.replace("Name 7", "Anna"))
        base.job.warehouse.execute("CHECKPOINT")
        shutil.copytree(base.folder, folder)
        copy_project(project)
        monkeypatch.setattr("scripts.project.transform.PROJECT_ROOT", project)
        replace_in(project / "models/snapshots/snap_account.sql", "customer_id::BIGINT", "customer_id::INT")
        replace_in(
            project / "models/marts/customer_profile.sql",
            "owner.has_loan_flag::BOOLEAN",
            "owner.has_loan_flag::BOOLEAN AS loan_flag",
        )

        before = file_bytes(folder)
        with environment_of(folder):
            for command in ("run", "transform"):
                refused = CliRunner().invoke(cli, [command, *as_of], catch_exceptions=False)
                assert refused.exit_code == 4, refused.output
                assert "snapshots.snap_account: column customer_id is BIGINT and would be INT." in refused.output
                assert "marts.customer_profile: column has_loan_flag (BOOLEAN) is gone." in refused.output
                assert "--breaking" in refused.output
        written = {path for path, _ in file_bytes(folder).items() - before.items()}
        assert {path.split("/")[0] for path in written} == {"quality_reports"}, "the database is as it was, to the byte"

        replace_in(project / "models/marts/customer_profile.sql", "AS loan_flag", "AS has_loan_flag")
        with environment_of(folder):
            insisted = CliRunner().invoke(cli, ["run", *as_of, "--breaking"], catch_exceptions=False)
        assert insisted.exit_code == 0, insisted.output
        with lab(folder) as current:
            types = "SELECT column_type FROM (DESCRIBE snapshots.snap_account) WHERE column_name = 'customer_id'"
            assert current.job.warehouse.fetch(types) == [("INTEGER",)]
            assert select(current.rows("marts.customer_profile"), customer_id=7)[0]["customer_name"] == "Anna"
            current.job.project.check_deploy(deploy=False, breaking=False)  # the next deploy is held to what stands now


def replace_in(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), encoding="utf-8")


def hold(path: str, locked: object, done: object) -> None:
    """Keeps a database open in a process of its own, as a SQL client does."""
    with duckdb.connect(path):
        locked.set()  # type: ignore[attr-defined]
        done.wait(60)  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def oddities(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """One load of files in which everything is odd that is allowed, and few lines are damaged."""
    customers = CUSTOMER.replace("\n", "\r\n") + "".join(f"{number},Name {number},no\r\n" for number in range(1, 20))
    customers += '20,"Two\r\nLines",yes\r\n21,"Smith, ""Jo""",no\r\n22,\u674e \u96f7,no\r\n23,Zo\xeb \xd6zt\xfcrk,no'
    accounts = "Balance,AccountType,AccountID,CustomerID\n" + "".join(
        f"{number}.5,savings,A{number},{number}\n" for number in range(1, 19)
    )
    accounts += '1,savings,"A\n19",19\n7,savings,A20\n8,savings,A21,21\n8,savings,A21,21\n9,savings,A22,22,extra\n'
    with lab(tmp_path_factory.mktemp("oddities")) as current:
        send(current, customers=b"\xef\xbb\xbf" + customers.encode(), accounts=accounts)
        current.ingest(START)
        yield current


class TestAccepted:
    def test_reordered_columns_are_told_apart_by_their_names(self, oddities: Lab) -> None:
        (row,) = select(oddities.rows("landing.account"), account_key="A7")
        assert (row["customer_id"], row["balance"], row["account_type"]) == ("7", "7.5", "savings")

    def test_byte_order_mark_crlf_and_a_missing_final_newline_are_ordinary(self, oddities: Lab) -> None:
        rows = {row["customer_key"]: row for row in oddities.rows("landing.customer")}
        assert len(rows) == 23
        assert rows["1"]["has_loan"] == "no"
        assert rows["23"]["has_loan"] == "no"

    def test_quotes_hold_commas_quotes_and_line_ends(self, oddities: Lab) -> None:
        rows = {row["customer_key"]: row["customer_name"] for row in oddities.rows("landing.customer")}
        assert rows["20"] == "Two\r\nLines"
        assert rows["21"] == 'Smith, "Jo"'
        assert select(oddities.rows("landing.account"), account_key="A\n19")

    def test_names_are_kept_in_any_script(self, oddities: Lab) -> None:
        rows = {row["customer_key"]: row["customer_name"] for row in oddities.rows("landing.customer")}
        assert (rows["22"], rows["23"]) == ("\u674e \u96f7", "Zo\xeb \xd6zt\xfcrk")

    def test_damaged_lines_are_kept_with_their_line_and_text(self, oddities: Lab) -> None:
        rejects = sorted(oddities.rows("landing.reject"), key=lambda row: row["line_number"])
        # A19's quoted line end takes up lines 20 and 21.
        assert [(row["file_name"], row["line_number"], row["reason"], row["raw_text"]) for row in rejects] == [
            ("accounts.csv", 22, "too_few_fields", "7,savings,A20"),
            ("accounts.csv", 25, "too_many_fields", "9,savings,A22,22,extra"),
        ]
        assert {(row["feed"], row["loaded_at"]) for row in rejects} == {("account", START)}

    def test_the_ledger_accounts_for_every_line_of_both_files(self, oddities: Lab) -> None:
        ledger = {row["feed"]: row for row in oddities.rows("landing.load")}
        assert set(ledger) == {"customer", "account"}
        for row in ledger.values():
            kinds = ("new_count", "changed_count", "unchanged_count", "duplicate_count")
            assert row["rows_read_count"] == sum(row[kind] for kind in kinds)
            assert row["data_line_count"] == row["rows_read_count"] + row["rejected_count"]
            content = (oddities.inputs / row["file_name"]).read_bytes()
            assert row["byte_count"] == len(content)
            assert row["sha256"] == file_bytes(oddities.inputs)[row["file_name"]]
            records = list(csv.reader(content.decode("utf-8-sig").splitlines(keepends=True)))
            assert row["data_line_count"] == len(records) - 1
        account = ledger["account"]
        assert (account["duplicate_count"], account["rejected_count"], account["new_count"]) == (1, 2, 20)
