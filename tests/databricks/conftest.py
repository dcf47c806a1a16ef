"""What the tests of this folder share: the server, nobody's settings, and the count of what the server rewrote."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import SETTINGS
from tests.databricks.fixture import RehearsalServer, databricks_server, started_servers
from tests.databricks.lab import forget_everything

__all__ = ["databricks_server"]

# What Databricks understands and Spark does not: a rehearsal that changes more than this proves nothing.
ALLOWED_REWRITES = {"create_volume", "current_catalog", "information_schema", "qualify", "volume_path"}

# Of the servers of pytest's worker processes, each of which has its own: statements, and rewrites by kind.
worker_statements: list[int] = []
worker_rewrites: Counter[str] = Counter()


@pytest.fixture(scope="session", autouse=True)
def settings_of_nobody() -> Iterator[None]:
    """Neither the environment nor the developer's .env reaches the pipelines under test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHON_DOTENV_DISABLED", "1")
        for name in list(os.environ):
            if name in SETTINGS:
                patch.delenv(name)
        yield


@pytest.fixture(scope="module")
def empty_server(databricks_server: RehearsalServer, tmp_path_factory: pytest.TempPathFactory) -> RehearsalServer:
    """The server without a table of the tests before."""
    forget_everything(databricks_server, tmp_path_factory.mktemp("forgotten"))
    return databricks_server


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the labs of one module."""
    return tmp_path_factory.mktemp("labs")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first, so that no worker has nothing left to do while another is at them."""
    longest = ["test_environments.py", "test_parity.py", "test_faults.py", "test_smoke.py"]
    items.sort(key=lambda item: longest.index(item.path.name) if item.path.name in longest else len(longest))


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Takes the counts of a worker that has ended."""
    output = getattr(node, "workeroutput", {})
    worker_statements.append(output.get("statements", 0))
    worker_rewrites.update(output.get("rewrites", {}))


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput |= {"statements": statement_count(), "rewrites": dict(rewrites())}
    if not_allowed() and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if not statement_count():
        return
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in sorted(rewrites().items())) or "none"
    terminalreporter.section("Databricks rehearsal")
    terminalreporter.write_line(f"{statement_count():,} statements on Spark; rewritten, by kind: {kinds}")
    if not_allowed():
        terminalreporter.write_line(f"FAILED: rewritten, but not allowed: {', '.join(not_allowed())}", red=True)


def statement_count() -> int:
    return sum(worker_statements) + sum(len(server.statements) for server in started_servers)


def rewrites() -> Counter[str]:
    """How often each kind of rewrite was applied."""
    return sum((server.rewrites for server in started_servers), start=worker_rewrites)


def not_allowed() -> list[str]:
    """Kinds of rewrite that were applied and are not on the list."""
    return sorted(set(rewrites()) - ALLOWED_REWRITES)
