"""Loads and changes of the project in any order, against the plain reference: a change is as safe as a load.

After every step that ends well prod's tables and files are exactly what the reference says by the rules of prod, and
the branch's by those of the branch. A step that fails leaves prod as it was; one that is killed is made good by the
next.
"""

from __future__ import annotations

import copy
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from rich.console import Console
from sqlglot import exp
from sqlmesh.core.engine_adapter.base import EngineAdapter

import scripts.project.transform
from scripts.errors import BlockingAuditError
from scripts.project.console import model_name
from scripts.project.plan import plan
from scripts.project.prod import PROD, prod_snapshots
from scripts.results import FeedLoad, short_name
from scripts.settings import load_settings
from scripts.sql import timestamp_literal
from scripts.warehouse.duckdb import DuckDBWarehouse
from tests.compare import assert_same_rows
from tests.feed_strategies import feed_sequences, write_feeds
from tests.lab import TABLES, Lab, Story, copy_project, environment_of, tell
from tests.reference import LedgerCounts, Load, Reference
from tests.variants import Variant

# Each worker of a parallel run takes a part. A failure is not shrunk, at seconds a step that would take hours: the
# steps are printed as they are. Without a number asked for, the sequences are the same every time.
PARTS = ("first", "second", "third", "fourth", "fifth")
ASKED_FOR = os.environ.get("PROPERTY_EXAMPLES")
EXAMPLES = int(ASKED_FOR or "25") // len(PARTS)
STEPS = 12

BRANCH = "branch"
# The landing zone and the views on it have every load as soon as it is taken.
ARRIVED = tuple(table for table in TABLES if table.startswith(("landing.", "source.")))
SHOWN = tuple(table for table in TABLES if table not in ARRIVED)
# What a failing blocking audit before history must leave alone.
GUARDED = ("snapshots.snap_customer", "snapshots.snap_account", "marts.account_summary", "marts.customer_profile")

FIRST = Load(
    datetime(2024, 1, 15, 1),
    [("1", "Ana", "no"), ("2", "Bob", "ja")],
    [("A1", "1", "100", "savings"), ("A2", "1", "20000", "savings"), ("A3", "2", "50", "checking")],
)

CHANGES: dict[str, Any] = {
    "words": lambda variant: replace(
        variant, summary_words=variant.summary_words + 1, staged_words=variant.staged_words + 1
    ),
    "a rate": lambda variant: replace(variant, top_rate="0.0300" if variant.top_rate == "0.0200" else "0.0200"),
    "a column": lambda variant: replace(variant, copies_balance=not variant.copies_balance),
    "a rule of validity": lambda variant: replace(variant, reads_ja=not variant.reads_ja),
}
changes = st.sampled_from(sorted(CHANGES))
# How far a branch runs ahead of the newest load; None: it does not run.
AHEAD = (None, timedelta(0), timedelta(hours=3), timedelta(days=30))


class Killed(BaseException):
    """Stands for the end of the process: nothing that the pipeline does on an error may catch it."""


def as_of(reference: Reference) -> tuple[datetime | None, datetime | None]:
    """What a branch is calculated from: loads, and changes of prod's rates."""
    return reference.last_loaded_at, reference.rates_changed_at


def counts_of(load: FeedLoad) -> LedgerCounts:
    """What the ledger says of a load of one feed, in the reference's words."""
    return LedgerCounts(
        rows_read=load.rows_read_count,
        new=load.new_count,
        changed=load.changed_count,
        gone=load.gone_count,
        unchanged=load.unchanged_count,
        duplicate=load.duplicate_count,
    )


@contextmanager
def killed_at(statement: int) -> Iterator[None]:
    """Kills the process, as it were, when so many statements were sent to the database."""
    sent = 0

    def counted(method: Any) -> Any:
        def send(*args: Any, **kwargs: Any) -> Any:
            nonlocal sent
            sent += 1
            if sent > statement:
                raise Killed
            return method(*args, **kwargs)

        return send

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EngineAdapter, "_execute", counted(EngineAdapter._execute))
        patch.setattr(DuckDBWarehouse, "execute", counted(DuckDBWarehouse.execute))
        yield


class LoadsAndChanges(RuleBasedStateMachine):
    """A database and a folder of models, on which one works as a team does, a command after the other.

    Attributes:
        landed: The reference after all loads that were taken.
        shown: The reference after those that prod shows; None from a kill or a failure until the next run ends well.
        main: The models on the production branch; prod holds them after each run.
        branch: The models of the other branch, None where there is no such environment.
        branch_shows: The same as `shown` for the environment of the branch.
    """

    story: Story
    project: Path

    @initialize(loads=feed_sequences(STEPS + 1, STEPS + 1), is_new=st.sampled_from((False, False, False, True)))
    def begin(self, loads: list[Load], is_new: bool) -> None:
        self.scratch = tempfile.TemporaryDirectory()
        folder = Path(self.scratch.name) / "lab"
        if not is_new:
            shutil.copytree(self.story.folder, folder)
        self.environment = environment_of(folder, MAX_REJECTED_SHARE="1")
        self.environment.__enter__()
        self.main = Variant()
        self.branch: Variant | None = None
        self.main.write(self.project)
        self.lab = Lab(folder)
        self.coming = iter(loads)
        self.last = self.story.loads[-1]
        self.landed = Reference() if is_new else copy.deepcopy(self.story.reference)
        self.prod: Variant | None = None if is_new else self.main
        self.shown: Reference | None = None if is_new else copy.deepcopy(self.landed)
        self.branch_shows: Reference | None = None
        if is_new:
            self.run(None, full_refresh=False)

    def teardown(self) -> None:
        if hasattr(self, "lab"):
            self.lab.close()
            self.environment.__exit__(None, None, None)
            self.scratch.cleanup()

    # ------------------------------------------------------------------------------------------------ on production

    @rule(change=st.none() | changes, full_refresh=st.sampled_from((False, False, False, True)))
    def run(self, change: str | None, full_refresh: bool) -> None:
        if change:
            self.change(change)
        self.ingest()
        self.lab.transform(self.last.loaded_at, full_refresh=full_refresh)
        assert self.lab.failed_audits() == []
        self.lab.job.export()
        self.all_is_shown()
        self.check_files()

    @rule()
    def repeat(self) -> None:
        write_feeds(self.last, self.lab.inputs)
        if not self.is_landed(self.last):  # what it repeats was killed
            self.landed.take(self.last)
        self.lab.ingest(self.last.loaded_at)
        self.lab.transform(self.last.loaded_at)
        self.all_is_shown()

    @rule()
    def transform(self) -> None:
        self.lab.transform(None)
        self.all_is_shown()

    @rule(change=changes)
    def change(self, change: str) -> None:
        self.main = CHANGES[change](self.main)
        self.check_out(self.main)

    @rule()
    def ingest(self) -> None:
        self.receive()
        ledger = self.lab.ingest(self.last.loaded_at)
        counts = self.landed.take(self.last)
        assert {load.feed: counts_of(load) for load in ledger} == counts
        assert all(load.rejected_count == len(self.last.damaged[load.feed]) for load in ledger)

    @precondition(lambda self: self.shown is not None)
    @rule()
    def ingest_and_plain_sqlmesh_run(self) -> None:
        self.ingest()
        assert self.context.run(PROD).is_success
        self.landed_is_shown()

    @precondition(lambda self: self.shown is not None)
    @rule(place=st.integers(0, 100))
    def restate(self, place: int) -> None:
        names = [model_name(snapshot) for snapshot in self.tables_of_prod()]
        self.context.plan(
            PROD,
            restate_models=[names[place % len(names)]],
            no_prompts=True,
            auto_apply=True,
            skip_tests=True,
        )
        if self.shown and self.shown.last_loaded_at != self.landed.last_loaded_at:
            self.shown = self.branch_shows = None  # the restated models have taken in what is pending, others not
        self.check_prod()

    @precondition(lambda self: self.shown is not None)
    @rule(place=st.none() | st.integers(0, 100))
    def lose_rows_and_rebuild(self, place: int | None) -> None:
        tables = [exp.to_table(snapshot.table_name()).sql(dialect="duckdb") for snapshot in self.tables_of_prod()]
        for table in tables if place is None else [tables[place % len(tables)]]:
            self.lab.job.warehouse.execute(f"DELETE FROM {table}")
        self.lab.transform(None, full_refresh=True)
        self.all_is_shown()

    @rule()
    def collect_garbage(self) -> None:
        self.context._run_janitor(ignore_ttl=True)
        self.check_prod()
        self.check_branch()

    @rule(statement=st.integers(0, 400), full_refresh=st.sampled_from((False, False, False, True)))
    def run_and_kill(self, statement: int, full_refresh: bool) -> None:
        self.receive()
        try:
            with killed_at(statement):
                self.lab.ingest(self.last.loaded_at)
                self.lab.transform(self.last.loaded_at, full_refresh=full_refresh)
        except Killed:
            self.shown = self.branch_shows = None
        with suppress(duckdb.TransactionException):
            self.context.engine_adapter.connection.rollback()
        self.check_out(self.main)
        if self.is_landed(self.last):
            self.landed.take(self.last)
        if self.shown is not None:
            self.all_is_shown()

    @precondition(lambda self: self.shown is not None)
    @rule(change=changes)
    def deploy_with_a_load_that_breaks_an_audit(self, change: str) -> None:
        before = {table: self.lab.rows(table) for table in GUARDED}
        self.main = CHANGES[change](self.main)
        self.check_out(self.main)
        self.ingest()
        moment = timestamp_literal(self.last.loaded_at)
        twice = ", ".join([f"({moment}, 'new', 'twice', 1, 'twice', '1', '5', 'savings')"] * 2)
        self.lab.job.warehouse.execute(f"INSERT INTO landing.account VALUES {twice}")
        with pytest.raises(BlockingAuditError):
            self.lab.transform(self.last.loaded_at)
        for table, kept in before.items():
            assert_same_rows(kept, self.lab.rows(table), table)
        self.lab.job.warehouse.execute("DELETE FROM landing.account WHERE account_key = 'twice'")
        self.shown = self.branch_shows = None

    # ---------------------------------------------------------------------------------------------------- on a branch

    @precondition(lambda self: self.shown is not None)
    @rule(change=changes, ahead=st.sampled_from(AHEAD))
    def plan_branch(self, change: str, ahead: timedelta | None) -> None:
        planned = CHANGES[change](self.branch or self.main)
        if self.branch is None and planned == self.prod:
            return  # SQLMesh makes no environment where there is nothing to see in it
        self.branch = planned
        with self.on_branch():
            self.lab.close()
            plan(load_settings(), BRANCH, ["--no-prompts", "--auto-apply", "--skip-tests"], Console(quiet=True))
            self.lab.open()
            self.branch_shows = copy.deepcopy(self.shown)
            self.check_branch()
        if ahead is None:
            self.check_prod()
        else:
            self.run_branch(ahead)

    @precondition(lambda self: self.branch is not None and self.shown is not None)
    @rule(ahead=st.sampled_from(AHEAD[1:]))
    def run_branch(self, ahead: timedelta) -> None:
        with self.on_branch():
            until = self.last.loaded_at + ahead + timedelta(seconds=1)
            assert not self.context.run(BRANCH, execution_time=until, ignore_cron=True).is_failure
        if self.nothing_is_pending():
            self.check_prod()
        else:
            self.shown = self.branch_shows = None  # what both share has taken in what is pending, prod's own not

    @precondition(lambda self: self.branch is not None)
    @rule(with_load=st.booleans())
    def merge_branch(self, with_load: bool) -> None:
        assert self.branch is not None
        self.main = self.branch
        self.check_out(self.main)
        if with_load:
            self.run(None, full_refresh=False)
        else:
            self.transform()

    @precondition(lambda self: self.branch is not None)
    @rule()
    def drop_branch(self) -> None:
        self.context.invalidate_environment(BRANCH, sync=True)
        self.branch = self.branch_shows = None
        self.check_prod()

    # -------------------------------------------------------------------------------------------------------- helpers

    @property
    def context(self) -> Any:
        return self.lab.job.project.context

    def receive(self) -> None:
        """The next files arrive."""
        self.last = next(self.coming)
        write_feeds(self.last, self.lab.inputs)

    def check_out(self, variant: Variant) -> None:
        """The folder holds these models, for a new process."""
        self.lab.close()
        variant.write(self.project)
        self.lab.open()

    @contextmanager
    def on_branch(self) -> Iterator[None]:
        assert self.branch is not None
        self.check_out(self.branch)
        yield
        self.check_out(self.main)

    def tables_of_prod(self) -> list[Any]:
        snapshots = [snapshot for snapshot in prod_snapshots(self.context) if snapshot.evaluatable]
        return sorted((one for one in snapshots if not one.is_seed and not one.is_view), key=model_name)

    def is_landed(self, load: Load) -> bool:
        return any(row["loaded_at"] == load.loaded_at for row in self.lab.rows("landing.load"))

    def nothing_is_pending(self) -> bool:
        return self.shown is not None and self.shown.last_loaded_at == self.landed.last_loaded_at

    def all_is_shown(self) -> None:
        """Prod shows every load by the models of main."""
        self.landed.rates_changed_at = max(row["changed_at"] for row in self.lab.rows("landing.rate_change"))
        self.prod = self.main
        self.landed_is_shown()

    def landed_is_shown(self) -> None:
        """Prod shows every load, and so do the tables that the branch shares with it, but not the branch's own."""
        self.shown = copy.deepcopy(self.landed)
        if self.branch_shows and as_of(self.branch_shows) != as_of(self.shown):
            self.branch_shows = None  # until it is planned again
        self.check_prod()

    def check_prod(self) -> None:
        if self.shown is None or self.prod is None:
            return
        arrived, shown = self.landed.tables(), self.prod.tables(self.shown)
        for table in TABLES:
            expected = arrived if table in ARRIVED else shown
            assert_same_rows(expected[table], self.lab.rows(table), table)

    def check_branch(self) -> None:
        if self.branch_shows is None or self.branch is None:
            return
        expected = self.branch.tables(self.branch_shows)
        environment = self.context.state_sync.get_environment(BRANCH)
        # Of the models that are prod's own, an environment has no views.
        own = {short_name(snapshot.name) for snapshot in environment.promoted_snapshots} & set(SHOWN)
        assert own
        for table in own:
            assert_same_rows(expected[table], self.lab.rows(table.replace(".", f"__{BRANCH}.")), table)

    def check_files(self) -> None:
        for mart in ("account_summary", "customer_profile"):
            path = self.lab.folder / "outputs" / f"{mart}.parquet"
            table = duckdb.sql(f"SELECT * FROM '{path}'")
            rows = [dict(zip(table.columns, row, strict=True)) for row in table.fetchall()]
            assert_same_rows([{c: row[c] for c in table.columns} for row in self.lab.rows(f"marts.{mart}")], rows, mart)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[type[LoadsAndChanges]]:
    folder = tmp_path_factory.mktemp("first")
    copy_project(folder / "project")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scripts.project.transform, "PROJECT_ROOT", folder / "project")
        LoadsAndChanges.project = folder / "project"
        LoadsAndChanges.story = tell(folder / "lab", [FIRST])
        yield LoadsAndChanges


@pytest.mark.properties
@pytest.mark.parametrize("part", PARTS)
def test_prod_and_the_branch_equal_the_reference_after_every_step(machine: type[LoadsAndChanges], part: str) -> None:
    # Under a name of its own: by it hypothesis chooses the sequences that are the same every time.
    run_state_machine_as_test(
        type(f"{machine.__name__}{part.title()}", (machine,), {}),
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            derandomize=not ASKED_FOR,
            suppress_health_check=list(HealthCheck),
            phases=(Phase.explicit, Phase.generate),
            print_blob=True,
        ),
    )
