"""`make smoke-databricks` makes schemas in somebody's catalog and drops them: no other may come to harm."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from scripts.errors import PipelineError
from scripts.job import Job
from tests.databricks.fixture import RehearsalServer
from tests.databricks.lab import databricks_environment, execute, forget_everything
from tools import smoke_databricks
from tools.smoke_databricks import Outcome, compare

pytestmark = pytest.mark.databricks


@pytest.fixture
def server(databricks_server: RehearsalServer, tmp_path: Path) -> Iterator[RehearsalServer]:
    """A catalog that holds a table of somebody else's, which must be there after, and nothing more."""
    forget_everything(databricks_server, tmp_path)
    with databricks_environment(
        databricks_server, tmp_path, DATABRICKS_SCHEMA="", DATABRICKS_VOLUME="", STATE_HOST="", MAX_REJECTED_SHARE="0.1"
    ):
        execute(databricks_server, "CREATE SCHEMA theirs", "CREATE TABLE theirs.precious AS SELECT 1 AS a")
        yield databricks_server
        assert execute(databricks_server, "SELECT a FROM theirs.precious") == [(1,)]


def smoke() -> Result:
    return CliRunner().invoke(smoke_databricks.main, [])


def schemas(server: RehearsalServer) -> set[str]:
    return {name for (name,) in execute(server, "SHOW SCHEMAS")}


def test_a_catalog_in_use_is_refused_and_left_alone(server: RehearsalServer) -> None:
    execute(server, "CREATE SCHEMA staging", "CREATE TABLE staging.stg_account AS SELECT 2 AS b")
    ended = smoke()
    assert ended.exit_code == 4, ended.output
    assert "already holds staging" in ended.output
    assert "Set DATABRICKS_CATALOG to an empty catalog" in ended.output
    assert schemas(server) == {"default", "theirs", "staging"}
    assert execute(server, "SELECT b FROM staging.stg_account") == [(2,)]


def test_both_gateways_hold_the_same_and_the_catalog_is_as_it_was(
    server: RehearsalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes: list[Outcome] = []

    def remember_and_compare(expected: Outcome, actual: Outcome) -> None:
        outcomes.extend([expected, actual])
        compare(expected, actual)

    monkeypatch.setattr(smoke_databricks, "compare", remember_and_compare)
    ended = smoke()
    assert ended.exit_code == 0, ended.output
    assert "22 tables with" in ended.output
    assert "5 files are the same" in ended.output
    assert "could not be semantically understood" not in ended.output
    assert schemas(server) == {"default", "theirs"}
    expected, actual = outcomes
    assert all(table.rows for table in expected.tables.values()), "an empty table proves nothing"
    assert_that_the_comparison_sees_small_differences(expected, actual)


def assert_that_the_comparison_sees_small_differences(expected: Outcome, actual: Outcome) -> None:
    """A cent, a type and a byte."""
    mart = actual.tables["marts.account_summary"]
    place = [name for name, _ in mart.types].index("annual_interest_amount")
    first, *others = mart.rows.elements()
    a_cent_more = (*first[:place], first[place] + Decimal("0.01"), *first[place + 1 :])
    other_types = tuple((name, "DOUBLE" if name == "new_balance_amount" else type_) for name, type_ in mart.types)
    for altered in (replace(mart, rows=Counter([a_cent_more, *others])), replace(mart, types=other_types)):
        with pytest.raises(PipelineError, match=r"^marts\.account_summary: "):
            compare(expected, replace(actual, tables={**actual.tables, "marts.account_summary": altered}))
    name, content = next(iter(actual.files.items()))
    with pytest.raises(PipelineError, match=name):
        compare(expected, replace(actual, files={**actual.files, name: content + b"\n"}))


def test_what_was_made_is_removed_after_a_failure(server: RehearsalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    take_loads, present = smoke_databricks.take_loads, set[str]()

    def fails_on_databricks(current: Job, loads: tuple[Path, Path]) -> Outcome:
        if current.settings.gateway == "databricks":
            present.update(schemas(server))
            raise PipelineError("The warehouse has melted.")
        return take_loads(current, loads)

    monkeypatch.setattr(smoke_databricks, "take_loads", fails_on_databricks)
    ended = smoke()
    assert ended.exit_code == 1, ended.output
    assert "The warehouse has melted." in ended.output
    assert any(name.startswith(smoke_databricks.PREFIX) for name in present), "nothing was made: this proves nothing"
    assert schemas(server) == {"default", "theirs"}
