"""What the tests of this folder share: the server, nobody's settings, and the count of what the server rewrote."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import PREFIXES, SETTINGS
from tests.databricks.fixture import RehearsalServer, databricks_server
from tests.databricks.lab import forget_everything

__all__ = ["databricks_server"]

# What Databricks understands and Spark does not: a rehearsal that changes more than this proves nothing.
ALLOWED_REWRITES = {"create_volume", "current_catalog", "information_schema", "qualify", "volume_path"}

servers: list[RehearsalServer] = []


@pytest.fixture(scope="session", autouse=True)
def settings_of_nobody() -> Iterator[None]:
    """Neither the environment nor the developer's .env reaches the pipelines under test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHON_DOTENV_DISABLED", "1")
        for name in list(os.environ):
            if name in SETTINGS or name.startswith(PREFIXES):
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


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: Any) -> Generator[None, Any, Any]:
    value = yield
    if fixturedef.argname == "databricks_server":
        servers.append(value)
    return value


def pytest_sessionfinish(session: pytest.Session) -> None:
    if not_allowed() and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any) -> None:
    for server in servers:
        rewrites = ", ".join(f"{kind} {count:,}" for kind, count in sorted(server.rewrites.items())) or "none"
        terminalreporter.section("Databricks rehearsal")
        terminalreporter.write_line(f"{len(server.statements):,} statements on Spark; rewritten, by kind: {rewrites}")
        if not_allowed():
            terminalreporter.write_line(f"FAILED: rewritten, but not allowed: {', '.join(not_allowed())}", red=True)


def not_allowed() -> list[str]:
    """Kinds of rewrite that were applied and are not on the list."""
    return sorted({kind for server in servers for kind in server.rewrites} - ALLOWED_REWRITES)
