"""What SQLMesh does beside a run, on Spark: environments, forward-only changes, restatement, blocking audits; its state
is in a PostgreSQL server where one is installed."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlglot import exp
from sqlmesh import Context
from sqlmesh.core.plan.evaluator import BuiltInPlanEvaluator

import scripts.project.transform
from scripts.clock import end_of_window
from scripts.errors import BlockingAuditError, FeedRefusedError, PipelineError
from scripts.pipeline import cli
from scripts.project.console import RunConsole
from scripts.settings import NOTHING_ALLOWED
from tests.databricks.fixture import RehearsalServer
from tests.databricks.lab import SparkLab, cut_after, databricks_lab, execute
from tests.databricks.postgres import fetch, postgres, postgres_programs
from tests.feed_strategies import write_feeds
from tests.lab import assert_same_tables, copy_project
from tests.reference import DEFAULT_TIERS, Load, Reference, Tier
from tests.variants import Variant

pytestmark = pytest.mark.databricks

FIRST_AT = datetime(2024, 1, 15, 2)
CUSTOMERS = [("1", "Ana", "no"), ("2", "Bob", "yes"), ("3", "Cat", "maybe")]
ACCOUNTS = [("A1", "1", "100", "savings"), ("A2", "1", "10000", "savings"), ("A3", "2", "20000", "savings"),
            ("A4", "2", "50", "checking"), ("A5", "9", "70", "savings")]  # fmt: skip
HISTORY_AND_MARTS = (
    "snapshots.snap_customer",
    "snapshots.snap_account",
    "intermediate.int_account_with_customer",
    "intermediate.int_savings_account_only",
    "marts.account_summary",
    "marts.customer_profile",
)
MARTS = ("marts.account_summary", "marts.customer_profile")


@dataclass
class Stage:
    """One lab on the server and what its tables must hold; `project` is the copy of this one that it works by.

    Branches are copies, too: SQLMesh takes note of how far from the project's root macros lie.
    """

    lab: SparkLab
    project: Path
    state: dict[str, str]
    reference: Reference = field(default_factory=Reference)
    loaded_at: datetime = FIRST_AT

    def next_load(self, customers: Sequence[tuple[str, ...]], accounts: Sequence[tuple[str, ...]]) -> Load:
        """A load of these rows, an hour and a bit after the last one; the reference has taken it."""
        self.loaded_at += timedelta(hours=1, seconds=1)
        load = Load(self.loaded_at, customers, accounts)
        self.reference.take(load)
        return load


@pytest.fixture(scope="module")
def state_settings() -> Iterator[dict[str, str]]:
    """STATE_* of a PostgreSQL server that lives as long as this module's tests; none where it isn't installed."""
    programs = postgres_programs()
    if programs is None:
        yield {}
        return
    with postgres(programs) as settings:
        yield settings


@pytest.fixture(scope="module")
def stage(empty_server: RehearsalServer, folder: Path, state_settings: dict[str, str]) -> Iterator[Stage]:
    """A lab that has taken two loads."""
    copy_project(folder / "project")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scripts.project.transform, "PROJECT_ROOT", folder / "project")
        with databricks_lab(empty_server, folder / "lab", **state_settings) as current:
            stage = Stage(current, folder / "project", state_settings)
            current.take(stage.next_load(CUSTOMERS, ACCOUNTS))
            current.take(stage.next_load([("1", "Ana", "yes"), *CUSTOMERS[1:]], ACCOUNTS[:-1]))
            yield stage


def killed(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


def project_with(folder: Path, part: str, change: Callable[[str], str]) -> Path:
    """A copy of this project, as on a branch, in which one file is changed."""
    copy_project(folder)
    path = folder / part
    text = path.read_text(encoding="utf-8")
    assert change(text) != text
    path.write_text(change(text), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("owner", "balance", "said"),
    [
        ("1", "100,00", "20 of the 20 new and changed rows .* balance invalid 20"),
        ("77", "100.00", "20 of the 24 valid accounts .* customer unknown 20"),
    ],
)
def test_a_load_that_would_not_reach_the_marts_is_refused_and_leaves_nothing(
    stage: Stage, owner: str, balance: str, said: str
) -> None:
    arriving = [(f"B{number}", owner, balance, "savings") for number in range(20)]
    write_feeds(Load(stage.loaded_at, CUSTOMERS, [*ACCOUNTS[:-1], *arriving]), stage.lab.inputs)
    with pytest.raises(FeedRefusedError, match=said):
        stage.lab.ingest(stage.loaded_at + timedelta(minutes=1), allowed=NOTHING_ALLOWED)
    assert_same_tables(stage.reference.tables(), stage.lab.tables())
    assert stage.lab.count("landing.load") == 4


def plan(project: Path, environment: str, loaded_at: datetime, **options: Any) -> None:
    """`sqlmesh plan` of a project on the databricks gateway, then `sqlmesh run` for the hour under way."""
    context = Context(paths=[str(project)], gateway="databricks")
    try:
        context.plan(
            environment,
            execution_time=end_of_window(loaded_at),
            no_prompts=True,
            auto_apply=True,
            skip_tests=True,
            **options,
        )
        context.run(environment, execution_time=end_of_window(loaded_at), ignore_cron=True)
    finally:
        context.close()


def test_tables_equal_the_reference_after_two_loads(stage: Stage) -> None:
    stage.lab.assert_equals(stage.reference)


def test_state_is_kept_in_postgresql(stage: Stage) -> None:
    if not stage.state:
        pytest.skip("PostgreSQL's server (initdb, postgres) is not installed: the state was kept in a DuckDB file.")
    ((snapshots,),) = fetch(stage.state, "SELECT COUNT(*) FROM sqlmesh._snapshots")
    ((environments,),) = fetch(stage.state, "SELECT COUNT(*) FROM sqlmesh._environments WHERE name = 'prod'")
    assert snapshots >= len(stage.lab.job.project.context.snapshots)
    assert environments == 1
    assert not list(stage.lab.folder.glob("*.duckdb"))


def test_changed_rates_show_in_their_environment_only(stage: Stage, tmp_path: Path) -> None:
    project = project_with(
        tmp_path / "branch", "seeds/interest_rate_tier.csv", lambda text: text.replace("0.0150", "0.0175", 1)
    )
    plan(project, "branch", stage.loaded_at)
    changed = copy.deepcopy(stage.reference)
    changed.tiers = tuple(
        Tier(tier.balance_from_amount, Decimal("0.0175"), tier.loan_bonus_pct)
        if tier.interest_rate_pct == Decimal("0.0150")
        else tier
        for tier in DEFAULT_TIERS
    )
    marts = ("marts.account_summary", "marts.customer_profile", "reference.interest_rate_tier")
    in_branch = {name: stage.lab.rows(name.replace(".", "__branch.")) for name in marts}
    assert in_branch["marts.account_summary"] != stage.reference.tables()["marts.account_summary"]
    assert_same_tables({name: changed.tables()[name] for name in marts}, in_branch)
    stage.lab.assert_equals(stage.reference)


def test_sqlmeshs_own_restatement_leaves_the_same_rows(stage: Stage) -> None:
    with stage.lab.evaluated_windows() as windows:
        # SQLMesh restates up to a whole second: one after the load, as it always is for a person.
        plan(stage.project, "prod", stage.loaded_at + timedelta(seconds=1), restate_models=["staging.*"])
    assert {"staging.judged_account", *HISTORY_AND_MARTS} <= windows.keys()
    stage.lab.assert_equals(stage.reference)


def test_full_refresh_leaves_the_same_rows(stage: Stage) -> None:
    with stage.lab.evaluated_windows() as windows:
        stage.lab.transform(stage.loaded_at, full_refresh=True)
    assert {"staging.judged_account", *HISTORY_AND_MARTS} <= windows.keys()
    stage.lab.assert_equals(stage.reference)


def test_what_was_dropped_is_made_again_by_the_next_run(stage: Stage, empty_server: RehearsalServer) -> None:
    environment = stage.lab.job.project.context.state_sync.get_environment("prod")
    assert environment is not None
    (snapshot,) = (one for one in environment.snapshots if "judged_customer" in one.name)
    execute(
        empty_server,
        "DROP SCHEMA marts CASCADE",
        "DROP VIEW staging.stg_account",
        f"DROP TABLE {exp.to_table(snapshot.table_name()).sql(dialect='databricks')}",
    )
    stage.lab.take(stage.next_load([("1", "Ann", "yes"), *CUSTOMERS[1:]], ACCOUNTS[:-1]))
    stage.lab.assert_equals(stage.reference)


def test_runs_that_fail_leave_history_and_marts_until_one_completes_the_load(
    stage: Stage, empty_server: RehearsalServer
) -> None:
    before = {name: stage.reference.tables()[name] for name in HISTORY_AND_MARTS}
    load = stage.next_load([("1", "Ana", "no"), *CUSTOMERS[1:]], [("A1", "1", "150", "savings"), *ACCOUNTS[1:-1]])
    stage.lab.land(load)

    # A blocking audit fails.
    row = f"FROM landing.account WHERE account_key = 'A1' AND loaded_at = TIMESTAMP_NTZ'{load.loaded_at}'"
    execute(empty_server, f"INSERT INTO landing.account SELECT * {row}")
    ended = transform_command(stage)
    assert ended.exit_code == BlockingAuditError.exit_code == 5, ended.output
    assert "staging.judged_account" in ended.output
    assert "unique_combination_of_columns" in ended.output
    assert_same_tables(before, stage.lab.tables(HISTORY_AND_MARTS))
    execute(
        empty_server,
        f"CREATE TABLE landing.mended AS SELECT DISTINCT * {row}",
        f"DELETE {row}",
        "INSERT INTO landing.account SELECT * FROM landing.mended",
        "DROP TABLE landing.mended",
    )

    # The token expires.
    ended = transform_command(stage, token_expiring_after(empty_server, "judged_account"))
    assert ended.exit_code in (PipelineError.exit_code, BlockingAuditError.exit_code), ended.output
    assert "token" in ended.output
    assert isinstance(ended.exception, SystemExit), ended.output
    assert_same_tables(before, stage.lab.tables(HISTORY_AND_MARTS))

    # The connection is cut after statements that write were run, which are then sent again.
    with cut_after(empty_server, "REPLACE WHERE", r"MERGE INTO .*snap_account"):
        stage.lab.transform(load.loaded_at)
    stage.lab.assert_equals(stage.reference)


def transform_command(stage: Stage, fault: AbstractContextManager[None] | None = None) -> Result:
    """`pipeline transform` for the newest load, as a process of its own would run it, while something is wrong."""
    stage.lab.close()
    with fault or nullcontext():
        ended = CliRunner().invoke(cli, ["transform", "--as-of", stage.loaded_at.isoformat()])
    stage.lab.open()
    return ended


@contextmanager
def token_expiring_after(server: RehearsalServer, model: str) -> Iterator[None]:
    """The server refuses every request once this model has been evaluated; as before in the end."""
    shown = RunConsole.update_snapshot_evaluation_progress

    def show_and_expire(console: RunConsole, snapshot: Any, *args: Any, **kwargs: Any) -> None:
        shown(console, snapshot, *args, **kwargs)
        if model in snapshot.name:
            server.expire_token()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunConsole, "update_snapshot_evaluation_progress", show_and_expire)
        yield
    server.clear_faults()


def test_a_changed_project_comes_into_prod_whole_and_is_rebuilt_whole(
    stage: Stage, empty_server: RehearsalServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, higher = tmp_path / "project", Variant(top_rate="0.0300")
    copy_project(project)
    monkeypatch.setattr(scripts.project.transform, "PROJECT_ROOT", project)

    def check_out(variant: Variant) -> None:
        stage.lab.close()
        variant.write(project)
        stage.lab.open()

    # A branch runs ahead of prod; then a load comes that is dated before the end of its windows.
    higher.write(project)
    plan(project, "branch", stage.loaded_at + timedelta(hours=5))
    before = {name: stage.lab.rows(name) for name in MARTS}
    load = stage.next_load(CUSTOMERS[:2], [("A1", "1", "175", "savings"), *ACCOUNTS[1:-1]])

    # The branch is merged with other words, and a blocking audit fails.
    check_out(replace(higher, summary_words=1))
    stage.lab.land(load)
    twice = f"(TIMESTAMP_NTZ'{load.loaded_at}', 'new', 'twice', 1, 'twice', '1', '5', 'savings')"
    execute(empty_server, f"INSERT INTO landing.account VALUES {twice}, {twice}")
    with pytest.raises(BlockingAuditError):
        stage.lab.transform(None)
    assert_same_tables(before, {name: stage.lab.rows(name) for name in MARTS})
    execute(empty_server, "DELETE FROM landing.account WHERE account_key = 'twice'")
    stage.lab.transform(None)
    stage.reference.change_rates(higher.tiers())
    assert_same_tables(stage.reference.tables(), stage.lab.tables())

    # Words are changed again, rows are lost, and a full refresh brings them back.
    check_out(replace(higher, summary_words=2))
    stage.lab.transform(None)
    environment = stage.lab.job.project.context.state_sync.get_environment("prod")
    assert environment is not None
    (mart,) = (one for one in environment.snapshots if "account_summary" in one.name)
    execute(empty_server, f"DELETE FROM {exp.to_table(mart.table_name()).sql(dialect='databricks')}")
    stage.lab.transform(None, full_refresh=True)
    assert_same_tables(stage.reference.tables(), stage.lab.tables())

    # A deploy dies between the switch of prod's views and its record; the next run finishes it.
    check_out(Variant())
    with monkeypatch.context() as patch:
        patch.setattr(BuiltInPlanEvaluator, "visit_finalize_environment_stage", killed)
        with pytest.raises(KeyboardInterrupt):
            stage.lab.transform(None)
    stage.lab.close()
    stage.lab.open()
    stage.reference.change_rates(Variant().tiers())
    stage.lab.take(stage.next_load(CUSTOMERS[:2], ACCOUNTS[:-1]))
    stage.lab.assert_equals(stage.reference)


def test_forward_only_change_that_drops_a_column_is_promoted(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dropped, table = "new_balance_amount", "marts.account_summary"
    kept = [{name: value for name, value in row.items() if name != dropped} for row in stage.lab.rows(table)]

    def without(text: str) -> str:
        """The mart without the column, and without what its audits say of it."""
        text = re.sub(rf"(?m)^        {dropped},\n", "", text)
        text = re.sub(rf"{dropped} = .*", "annual_interest_amount >= 0", text)
        return re.sub(rf"  \(\n    .*\n  \)::DECIMAL\(19, 2\) AS {dropped}, .*\n", "", text)

    project = project_with(tmp_path / "branch", "models/marts/account_summary.sql", without)
    assert dropped not in (project / "models/marts/account_summary.sql").read_text(encoding="utf-8")
    options = {"forward_only": True, "allow_destructive_models": [table]}
    plan(project, "narrow", stage.loaded_at, **options)
    assert dropped in stage.lab.rows(table)[0]
    assert dropped not in stage.lab.rows("marts__narrow.account_summary")[0]
    plan(project, "prod", stage.loaded_at, **options)
    assert_same_tables({table: kept}, {table: stage.lab.rows(table)})
    # Runs go on with the changed model.
    monkeypatch.setattr(scripts.project.transform, "PROJECT_ROOT", project)
    stage.lab.close()
    stage.lab.open()
    stage.lab.take(stage.next_load([*CUSTOMERS[:2], ("4", "", "no")], ACCOUNTS[:-1]))
    expected = stage.reference.tables()
    expected[table] = [{name: value for name, value in row.items() if name != dropped} for row in expected[table]]
    assert_same_tables(expected, stage.lab.tables())
