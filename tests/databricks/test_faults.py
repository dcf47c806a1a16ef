"""What goes wrong on the way to Databricks: each load is taken once or not at all, and the message is a sentence."""

from __future__ import annotations

import functools
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from click.testing import CliRunner
from databricks import sql as databricks_sql

from scripts.errors import DatabaseInUseError, FeedRefusedError, PipelineError
from scripts.feeds import ACCOUNT, Feed
from scripts.ingest.load import ingest
from scripts.pipeline import cli
from scripts.settings import PROJECT_ROOT, Allowed, databricks_of, load_settings
from scripts.sql import timestamp_literal
from scripts.warehouse import SCRATCH_SCHEMA
from scripts.warehouse.databricks import DatabricksWarehouse
from scripts.warehouse.lease import LOST_RACE
from scripts.warehouse.open import open_warehouse
from tests.databricks.fixture import RehearsalServer
from tests.databricks.lab import Table, cut_after, databricks_environment, execute, files_in_volume
from tests.feed_strategies import write_feeds
from tests.lab import assert_same_tables
from tests.reference import Load, Reference

pytestmark = pytest.mark.databricks

FIRST_AT = datetime(2024, 1, 15, 2)
KEYS = 25  # enough for a truncated feed to be seen as one
KILLED = 9

# Takes the feeds and dies at a statement: argv is the time of the load, a pattern, and before or after.
DYING_INGEST = """
import os, re, sys
from datetime import datetime
from scripts.ingest.load import ingest
from scripts.settings import Allowed, load_settings
from scripts.warehouse.databricks import DatabricksWarehouse
from scripts.warehouse.open import open_warehouse
loaded_at, pattern, when = sys.argv[1:]
run = DatabricksWarehouse.execute_native
def run_and_die(self, sql, parameters=None):
    hit = re.search(pattern, sql)
    if hit and when == "before":
        os._exit(9)
    run(self, sql, parameters)
    if hit:
        os._exit(9)
DatabricksWarehouse.execute_native = run_and_die
settings = load_settings()
ingest(
    open_warehouse(settings),
    settings,
    None,
    reopen=lambda since: None,
    as_of=datetime.fromisoformat(loaded_at),
    allowed=Allowed(quarantine=True),
)
"""


# Without a SQLMesh project nothing is judged.
VALUES_ALLOWED = Allowed(quarantine=True)


def judge_nothing(feed: Feed, rows: str) -> str:
    raise AssertionError("The guard on values is off.")


@dataclass
class Desk:
    """Feeds on their way to the landing zone of the server, and what that must hold."""

    server: RehearsalServer
    folder: Path
    reference: Reference = field(default_factory=Reference)
    loaded_at: datetime = FIRST_AT
    number: int = 0
    taken: int = 0

    def write_next(self) -> Load:
        """Writes the feeds of the next load: one customer renamed, one account new, the oldest account gone."""
        self.number += 1
        self.loaded_at += timedelta(hours=1)
        customers = [(str(key), f"Name {key}", "no") for key in range(1, KEYS + 1)]
        customers[self.number % KEYS] = ("1" * 3 + str(self.number), f"Name of load {self.number}", "yes")
        accounts = [(f"A{key}", "1", "10.5", "savings") for key in range(self.number, self.number + KEYS)]
        load = Load(self.loaded_at, customers, accounts)
        write_feeds(load, self.folder / "inputs")
        return load

    def ingest(self) -> None:
        """Takes the feeds as they lie in the inputs, over a connection of its own."""
        settings = load_settings()
        with closing(open_warehouse(settings)) as warehouse:
            ingest(
                warehouse,
                settings,
                judge_nothing,
                reopen=lambda since: None,
                as_of=self.loaded_at,
                allowed=VALUES_ALLOWED,
            )

    def ingest_in_another_process(self, pattern: str, when: str) -> subprocess.Popen[str]:
        """Takes them there; at a statement that matches the pattern it is killed."""
        return subprocess.Popen(
            [sys.executable, "-c", DYING_INGEST, self.loaded_at.isoformat(), pattern, when],
            cwd=PROJECT_ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def ingest_and_die(self, pattern: str, when: str) -> None:
        killed = self.ingest_in_another_process(pattern, when)
        said, _ = killed.communicate()
        assert killed.returncode == KILLED, said

    def let_lease_run_out(self) -> None:
        """Has as much time pass as the lease of a load that was killed has left."""
        self.write_lease("UPDATE landing.lease SET until_at = taken_at, load_id = 'nobody'")

    def write_lease(self, statement: str) -> None:
        """Writes it as often as a renewal gets in between, which the server may still be at for a load that is dead."""
        while True:
            try:
                execute(self.server, statement)
            except databricks_sql.exc.DatabaseError as error:
                if LOST_RACE not in str(error):
                    raise
            else:
                return

    def assert_each_load_once(self) -> None:
        """Checks the landing zone against the reference, and that nothing else is left on the server."""
        with closing(DatabricksWarehouse(databricks_of(load_settings()))) as warehouse:
            landed = {name: Table.read(warehouse, name).rows for name in ("landing.customer", "landing.account")}
            ledger = warehouse.fetch("SELECT feed, COUNT(*), COUNT(DISTINCT loaded_at) FROM landing.load GROUP BY feed")
        expected = self.reference.tables()
        assert_same_tables({name: expected[name] for name in landed}, landed)
        assert len(ledger) == 2
        assert {count for _, *counts in ledger for count in counts} == {self.taken}
        self.assert_nothing_left()

    def assert_nothing_left(self) -> None:
        """Checks that there is no file in the volume and no scratch table."""
        assert files_in_volume(self.server) == []
        tables = {name for _, name, *_ in execute(self.server, "SHOW TABLES IN landing")}
        assert tables == {"customer", "account", "reject", "unseen", "load", "lease", "run", "rate_change"}
        assert SCRATCH_SCHEMA not in {name for (name,) in execute(self.server, "SHOW SCHEMAS")}

    def expect(self, load: Load) -> None:
        """The landing zone must hold this load from now on."""
        self.reference.take(load)
        self.taken += 1


@pytest.fixture(scope="module")
def module_desk(empty_server: RehearsalServer, folder: Path) -> Iterator[Desk]:
    (folder / "desk" / "inputs").mkdir(parents=True)
    with databricks_environment(empty_server, folder / "desk"):
        desk = Desk(empty_server, folder / "desk")
        desk.expect(desk.write_next())
        desk.ingest()
        yield desk


@pytest.fixture
def desk(module_desk: Desk) -> Iterator[Desk]:
    """The desk, with the server working properly before and after."""
    module_desk.server.clear_faults()
    yield module_desk
    module_desk.server.clear_faults()


def test_first_load_is_taken_and_nothing_is_left(desk: Desk) -> None:
    desk.assert_each_load_once()


def test_truncated_feed_is_refused_after_it_was_sent_and_writes_nothing(desk: Desk) -> None:
    load = desk.write_next()
    write_feeds(Load(load.loaded_at, load.customer, load.account[:3]), desk.folder / "inputs")
    with pytest.raises(FeedRefusedError, match=r"accounts\.csv lacks .* known keys"):
        desk.ingest()
    desk.assert_each_load_once()


def test_emptied_column_is_refused_and_writes_nothing(desk: Desk) -> None:
    load = desk.write_next()
    blank = [(key, name, "") for key, name, _ in load.customer]
    write_feeds(Load(load.loaded_at, blank, load.account), desk.folder / "inputs")
    with pytest.raises(FeedRefusedError, match=r"Customer\.csv: the column HasLoan is without a value in 100%"):
        desk.ingest()
    desk.assert_each_load_once()


def test_feed_that_breaks_the_contract_is_refused_and_writes_nothing(desk: Desk) -> None:
    desk.write_next()
    (desk.folder / "inputs" / ACCOUNT.file_name).write_text("AccountID;Balance\nA1;5\n")
    with pytest.raises(FeedRefusedError, match=r"accounts\.csv"):
        desk.ingest()
    desk.assert_each_load_once()


def test_ingest_that_was_killed_is_repeated_as_if_it_had_not_begun(desk: Desk) -> None:
    """Killed at four moments one after the other: each goes on with what the one before left behind."""
    load = desk.write_next()
    for pattern, when in (
        ("PUT .*account", "after"),
        ("INSERT INTO landing.account", "before"),
        ("INSERT INTO landing.load", "before"),
        ("INSERT INTO landing.load", "after"),
    ):
        desk.loaded_at += timedelta(minutes=1)
        desk.ingest_and_die(pattern, when)
        desk.let_lease_run_out()
        assert files_in_volume(desk.server)
    # The ledger was written by the last of them: that load is taken, none of the others is.
    desk.expect(Load(desk.loaded_at, load.customer, load.account))
    desk.loaded_at += timedelta(minutes=1)
    desk.expect(Load(desk.loaded_at, load.customer, load.account))
    desk.ingest()
    desk.assert_each_load_once()


def test_folders_that_are_listed_without_a_slash_stop_no_load(desk: Desk) -> None:
    load = desk.write_next()
    desk.ingest_and_die("INSERT INTO landing.account", "before")
    desk.let_lease_run_out()
    desk.server.list_folders_without_slash()
    desk.expect(load)
    desk.ingest()
    desk.server.clear_faults()
    desk.assert_each_load_once()


def test_files_that_are_being_published_meanwhile_are_left_alone(desk: Desk) -> None:
    desk.expect(desk.write_next())
    with closing(DatabricksWarehouse(databricks_of(load_settings()))) as warehouse, warehouse.volume_area() as area:
        sent = area.send(area.parser().sql("SELECT 42 AS answer"), "mart")
        desk.ingest()
        assert warehouse.fetch(f"SELECT answer FROM {sent}") == [(42,)]
    desk.assert_each_load_once()


def test_load_whose_rows_are_not_all_there_is_not_taken(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    load = desk.write_next()

    def lose_rows() -> None:
        execute(desk.server, "DELETE FROM landing.account WHERE change_type = 'gone' AND " + at(load.loaded_at))

    with (
        at_statement(monkeypatch, "INSERT INTO landing.load", lose_rows),
        pytest.raises(PipelineError, match=r"was not taken: 1 of 2 rows are in landing\.account\. .* run again"),
    ):
        desk.ingest()
    desk.expect(load)
    desk.ingest()
    desk.assert_each_load_once()


WRITES = ("CREATE OR REPLACE", "INSERT INTO landing.account", "INSERT INTO landing.load")


def test_load_is_taken_once_where_the_connection_is_cut_after_statements_were_run(desk: Desk) -> None:
    desk.expect(desk.write_next())
    with cut_after(desk.server, *WRITES):
        desk.ingest()
    desk.assert_each_load_once()


def test_load_is_taken_once_where_the_connection_is_cut_before_statements_are_run(desk: Desk) -> None:
    desk.expect(desk.write_next())
    desk.server.drop_connection(*WRITES, executed=False)
    desk.ingest()
    desk.assert_each_load_once()


def test_connection_that_stays_cut_is_an_error_and_no_half_load(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    impatient = functools.partial(databricks_sql.connect, _retry_stop_after_attempts_count=2)
    monkeypatch.setattr(databricks_sql, "connect", impatient)
    load = desk.write_next()
    desk.server.drop_connection("INSERT INTO landing.load", executed=False, times=1000)
    with pytest.raises(PipelineError, match="Databricks refused or lost a statement"):
        desk.ingest()
    desk.server.clear_faults()
    desk.expect(load)
    desk.ingest()
    desk.assert_each_load_once()


def test_load_waits_for_a_server_that_is_unavailable_for_a_while(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    impatient = functools.partial(databricks_sql.connect, _retry_delay_max=5)
    monkeypatch.setattr(databricks_sql, "connect", impatient)
    desk.expect(desk.write_next())
    with at_statement(monkeypatch, "INSERT INTO landing.account", lambda: desk.server.be_unavailable(2)):
        desk.ingest()
    desk.assert_each_load_once()


def test_server_that_stays_unavailable_is_an_error(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    impatient = functools.partial(databricks_sql.connect, _retry_delay_max=5, _retry_stop_after_attempts_duration=8)
    monkeypatch.setattr(databricks_sql, "connect", impatient)
    desk.write_next()
    desk.server.be_unavailable(1000)
    with pytest.raises(PipelineError, match=r"No connection to Databricks at .* check"):
        desk.ingest()
    desk.server.clear_faults()
    desk.assert_each_load_once()


def test_token_that_expires_during_a_load_is_an_error_and_no_half_load(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = desk.write_next()
    with (
        at_statement(monkeypatch, "INSERT INTO landing.account", desk.server.expire_token),
        pytest.raises(PipelineError, match=r"(?s)token.*INSERT INTO landing\.account"),
    ):
        desk.ingest()
    desk.server.clear_faults()
    # It could not be given back.
    desk.let_lease_run_out()
    desk.expect(load)
    desk.ingest()
    desk.assert_each_load_once()


def test_command_with_an_expired_token_ends_with_a_sentence_and_exit_code_1(desk: Desk) -> None:
    desk.server.expire_token()
    ended = CliRunner().invoke(cli, ["ingest"])
    assert ended.exit_code == 1, ended.output
    assert "Databricks answers 403: the token is wrong, expired or revoked. Make a new token" in ended.output
    assert "Traceback" not in ended.output


class TestTwoIngestsAtOnce:
    def test_they_end_one_after_the_other_with_the_rows_of_both(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The second begins when all rows of the first are there, and its ledger is not."""
        monkeypatch.setenv("LOCK_TIMEOUT", "120")
        desk.expect(desk.write_next())
        second: list[subprocess.Popen[str]] = []
        said: list[str] = []

        def begin_second() -> None:
            desk.expect(desk.write_next())
            second.append(desk.ingest_in_another_process("no statement", "before"))
            assert second[0].stdout
            for line in second[0].stdout:
                said.append(line)
                if "Waiting up to" in line:
                    return

        with at_statement(monkeypatch, "INSERT INTO landing.load", begin_second):
            desk.ingest()
        rest, _ = second[0].communicate()
        assert second[0].returncode == 0, [*said, rest]
        desk.assert_each_load_once()
        assert f"Another ingest writes to the landing zone: PID {os.getpid()} on " in "".join(said)

    def test_the_second_names_the_first_once_its_time_to_wait_is_over(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        desk.expect(desk.write_next())

        def ingest_beside() -> None:
            expected = rf"PID {os.getpid()} on {socket.gethostname()}, since .* UTC; its lease runs until .* UTC"
            with pytest.raises(DatabaseInUseError, match=expected):
                desk.ingest()

        with at_statement(monkeypatch, "INSERT INTO landing.load", ingest_beside):
            desk.ingest()
        desk.assert_each_load_once()

    def test_it_goes_on_once_the_lease_of_one_that_was_killed_has_run_out(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("LOCK_TIMEOUT", "120")
        load = desk.write_next()
        desk.ingest_and_die("INSERT INTO landing.load", "before")
        desk.loaded_at += timedelta(minutes=1)
        desk.expect(Load(desk.loaded_at, load.customer, load.account))
        desk.ingest()
        assert "Another ingest writes to the landing zone: PID" in capsys.readouterr().out
        desk.assert_each_load_once()

    def test_a_load_keeps_its_lease_for_as_long_as_it_takes(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("scripts.warehouse.lease.RENEWED_AFTER_SECONDS", 0.1)
        desk.expect(desk.write_next())

        def wait_for_renewal() -> None:
            lease = "SELECT until_at FROM landing.lease"
            first = execute(desk.server, lease)
            assert any(execute(desk.server, lease) != first for _ in range(300))

        with at_statement(monkeypatch, "INSERT INTO landing.load", wait_for_renewal):
            desk.ingest()
        desk.assert_each_load_once()

    def test_a_load_that_another_took_the_lease_from_is_not_taken(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        load = desk.write_next()

        def take_lease() -> None:
            desk.write_lease("UPDATE landing.lease SET load_id = 'another'")

        with (
            at_statement(monkeypatch, "INSERT INTO landing.load", take_lease),
            pytest.raises(PipelineError, match="was not taken: another ingest has begun meanwhile"),
        ):
            desk.ingest()
        desk.let_lease_run_out()
        desk.expect(load)
        desk.ingest()
        desk.assert_each_load_once()

    @pytest.mark.parametrize("before", ["UPDATE landing.lease SET until_at = taken_at", "DELETE FROM landing.lease"])
    def test_of_several_that_begin_at_the_same_moment_not_more_than_one_writes(self, desk: Desk, before: str) -> None:
        """Whether the lease was held before or never: then it may be that none does, and each tries again."""
        desk.write_lease(before)
        start = Barrier(3, timeout=120)

        def writes(_: int) -> bool:
            with closing(open_warehouse(load_settings())) as warehouse:
                start.wait()
                try:
                    with warehouse.load():
                        start.wait()
                        return True
                except DatabaseInUseError:
                    start.wait()
                    return False

        with ThreadPoolExecutor(start.parties) as threads:
            assert list(threads.map(writes, range(start.parties))).count(True) <= 1
        desk.let_lease_run_out()
        desk.expect(desk.write_next())
        desk.ingest()
        desk.assert_each_load_once()


def at(moment: datetime) -> str:
    return f"loaded_at = {timestamp_literal(moment)}"


@contextmanager
def at_statement(patch: pytest.MonkeyPatch, text: str, action: Callable[[], None]) -> Iterator[None]:
    """Does something just before the loader sends the first statement that begins with the text."""
    run = DatabricksWarehouse.execute_native
    actions = [action]

    def act_and_run(warehouse: DatabricksWarehouse, sql: str, parameters: dict[str, Any] | None = None) -> None:
        if actions and sql.startswith(text):
            actions.pop()()
        run(warehouse, sql, parameters)

    with patch.context() as within:
        within.setattr(DatabricksWarehouse, "execute_native", act_and_run)
        yield


def test_a_column_that_a_contract_has_more_comes_on_top_of_what_landed(desk: Desk) -> None:
    load = desk.write_next()
    desk.ingest()
    before = ", ".join(column for column in ACCOUNT.change_log if column != "account_type")
    execute(
        desk.server,
        f"CREATE TABLE landing.without AS SELECT {before} FROM landing.account",
        "DROP TABLE landing.account",
        "CREATE TABLE landing.account AS SELECT * FROM landing.without",
        "DROP TABLE landing.without",
    )
    desk.loaded_at += timedelta(hours=1)
    accounts = [(*row[:-1], "" if number else "savings") for number, row in enumerate(load.account)]
    write_feeds(Load(desk.loaded_at, load.customer, accounts), desk.folder / "inputs")
    desk.ingest()
    changed = f"SELECT account_key, change_type FROM landing.account WHERE loaded_at = TIMESTAMP_NTZ'{desk.loaded_at}'"
    assert execute(desk.server, changed) == [(load.account[0][0], "changed")]
    assert execute(desk.server, "SELECT account_type FROM landing.account WHERE account_type IS NOT NULL") == [
        ("savings",)
    ]
