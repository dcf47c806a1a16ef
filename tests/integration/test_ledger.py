"""The ledger is checked against the rows: what it counted is in the landing zone, or a run says so and what to do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from scripts.errors import PipelineError
from scripts.ingest.change_capture import CapturedChanges, append_changes
from scripts.pipeline import cli
from scripts.settings import load_settings
from scripts.warehouse import Warehouse
from scripts.warehouse.open import open_warehouse
from tests.feed_strategies import write_feeds
from tests.lab import LANDING, TABLES, Story, assert_same_tables, continued, stored_tables, tell
from tests.reference import Load

FIRST_AT = datetime(2024, 1, 15, 2)
# Small files, in which one line is soon a large share.
DIRT_ALLOWED = {"MAX_REJECTED_SHARE": "1"}
LOADS = [
    Load(
        FIRST_AT, [("1", "Ana", "no"), ("2", "Bob", "no")], [(f"A{key}", "1", "100", "savings") for key in range(1, 6)]
    ),
    Load(
        FIRST_AT + timedelta(days=1),
        [("1", "Ana", "no"), ("2", "Bo", "yes")],
        [(f"A{key}", "2", "150", "savings") for key in range(1, 5)],
        {"account": ["A6,one,field,too,many"]},
    ),
    Load(
        FIRST_AT + timedelta(days=2),
        [("1", "Ann", "no"), ("2", "Bo", "yes")],
        [(f"A{key}", "2", "175", "savings") for key in range(2, 5)],
    ),
]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    return tell(tmp_path_factory.mktemp("story"), LOADS, **DIRT_ALLOWED)


@pytest.fixture
def going_on(story: Story, tmp_path: Path) -> Iterator[Path]:
    """The environment of a pipeline that goes on where the story ended, with no process at it."""
    with continued(story, tmp_path, **DIRT_ALLOWED) as (current, _):
        current.close()
        yield tmp_path


def command(*arguments: str) -> Result:
    return CliRunner().invoke(cli, list(arguments))


def execute(*statements: str) -> None:
    with closing(open_warehouse(load_settings())) as warehouse:
        for statement in statements:
            warehouse.execute(statement)


def test_lost_rows_fail_a_run_which_rebuilds_nothing_and_the_remedy_that_it_prints_brings_them_back(
    story: Story, going_on: Path
) -> None:
    of_second = "loaded_at = TIMESTAMP '2024-01-16 02:00:00'"
    execute(
        f"DELETE FROM landing.account WHERE account_key IN ('A1', 'A2') AND {of_second}",
        f"DELETE FROM landing.reject WHERE {of_second}",
    )
    before = stored_tables(going_on)
    damage = "account load of 2024-01-16 02:00:00: 3 of 5 rows are in landing.account, 0 of 1 rejected lines are in"
    for options in ([], ["--full-refresh"]):
        ended = command("transform", *options)
        assert ended.exit_code == 5, ended.output
        assert damage in ended.output
    assert_same_tables(before, stored_tables(going_on))
    status = command("status")
    assert status.exit_code == 1
    assert damage in status.output

    found = re.search(r"DELETE FROM [^,]+", ended.output)
    assert found
    assert found[0] in status.output
    execute(found[0])
    for load in LOADS[1:]:
        write_feeds(load, going_on / "inputs")
        ended = command("ingest", "--as-of", load.loaded_at.isoformat())
        assert ended.exit_code == 0, ended.output
    ended = command("run", "--full-refresh")
    assert ended.exit_code == 0, ended.output
    assert_same_tables(story.reference.tables(), stored_tables(going_on))
    assert command("status").exit_code == 0


def test_more_rows_than_were_counted_are_found_too(going_on: Path) -> None:
    execute("INSERT INTO landing.customer SELECT * FROM landing.customer WHERE customer_key = '2'")
    status = command("status")
    assert status.exit_code == 1
    assert "customer load of 2024-01-15 02:00:00: 3 of 2 rows are in landing.customer" in status.output


def test_load_whose_rows_are_not_all_there_is_not_taken(
    story: Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def append_and_lose_one(warehouse: Warehouse, changes: CapturedChanges, loaded_at: str) -> None:
        append_changes(warehouse, changes, loaded_at)
        warehouse.execute(f"DELETE FROM landing.account WHERE account_key = 'A2' AND loaded_at = {loaded_at}")

    with continued(story, tmp_path, **DIRT_ALLOWED) as (current, reference):
        before = current.tables((*TABLES, *LANDING))
        load = Load(FIRST_AT + timedelta(days=3), LOADS[2].customer, LOADS[0].account)
        with monkeypatch.context() as patch:
            patch.setattr("scripts.ingest.load.append_changes", append_and_lose_one)
            with pytest.raises(PipelineError, match=r"was not taken: 4 of 5 rows are in landing\.account"):
                current.land(load)
        assert_same_tables(before, current.tables((*TABLES, *LANDING)))
        current.take(load)
        reference.take(load)
        current.assert_equals(reference)
