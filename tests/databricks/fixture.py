"""The fixture `databricks_server`: one rehearsal server for the whole test run."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
START_SECONDS = 300  # the first start fetches jars


@dataclass(frozen=True)
class LoggedStatement:
    """One statement that the server ran: as the client sent it, with the kinds of rewrite and the error, if any."""

    sql: str
    seconds: float
    rewrites: tuple[str, ...]
    error: str | None


class RehearsalServer:
    """A running server.

    Attributes:
        environment: Variables that a client of the server needs, by name.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.environment: dict[str, str] = json.loads((folder / "ready.json").read_text())

    @property
    def statements(self) -> list[LoggedStatement]:
        """All statements so far, in the order in which they ended."""
        log = self._folder / "statements.jsonl"
        lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.exists() else []
        return [LoggedStatement(**{**line, "rewrites": tuple(line["rewrites"])}) for line in lines]

    @property
    def rewrites(self) -> Counter[str]:
        """How often each kind of rewrite was applied."""
        return Counter(kind for statement in self.statements for kind in statement.rewrites)

    def expire_token(self, status: int = 403) -> None:
        """Refuse every request with this HTTP status."""
        self._set_faults(expired_status=status)

    def be_unavailable(self, requests: int, retry_after_seconds: int = 1) -> None:
        """Answer the next requests 503 with this Retry-After."""
        self._set_faults(unavailable=requests, retry_after_seconds=retry_after_seconds)

    def drop_connection(self, *patterns: str, executed: bool, times: int = 1) -> None:
        """Cut the connection at the next statements that match each of the regular expressions, after or before
        running them."""
        self._set_faults(drops=[{"pattern": pattern, "executed": executed, "times": times} for pattern in patterns])

    def list_folders_without_slash(self) -> None:
        """Have LIST write a folder's name as it does a file's."""
        self._set_faults(bare_folders=True)

    def clear_faults(self) -> None:
        """Work properly again."""
        self._set_faults()

    def _set_faults(self, **faults: Any) -> None:
        data = json.dumps(faults).encode()
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        direct.open(urllib.request.Request(self.environment["HTTPS_PROXY"], data)).close()


started_servers: list[RehearsalServer] = []
"""The servers that this process has started: one, or none."""


def java_version() -> int | None:
    """Major version of the Java that Spark would use; None without one."""
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=f"{home}/bin" if home else None)
    if java is None:
        return None
    said = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    found = re.search(r'version "(\d+)', said)
    return int(found[1]) if found else None


@contextmanager
def alone_at_the_jars() -> Iterator[None]:
    """Servers start one after the other: the first fetches the jars, and Ivy's cache is no place for two at a time."""
    lock = ROOT / ".cache" / "ivy.lock"
    lock.parent.mkdir(exist_ok=True)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def databricks_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RehearsalServer]:
    """Start the server, wait until it is ready, stop it at the end; skip where Java or its environment is missing."""
    version = java_version()
    if version is None or version < 17:
        pytest.skip(f"The Databricks rehearsal needs Java 17 or later (found: {version}): install it, set JAVA_HOME.")
    python = Path(os.environ.get("REHEARSAL_PYTHON", ROOT / ".venv-databricks" / "bin" / "python"))
    if not python.exists():
        pytest.skip(f"The Databricks rehearsal needs {python}: run `make test-databricks`, or set REHEARSAL_PYTHON.")
    folder = tmp_path_factory.mktemp("databricks")
    with alone_at_the_jars(), (folder / "server.log").open("w") as log:
        command = [str(python), "-m", "tests.databricks.server", "--folder", str(folder)]
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + START_SECONDS
        while not (folder / "ready.json").exists():
            if process.poll() is not None or time.monotonic() > deadline:
                process.terminate()
                pytest.fail(f"The rehearsal server did not start:\n{(folder / 'server.log').read_text()[-4000:]}")
            time.sleep(0.2)
    started_servers.append(RehearsalServer(folder))
    try:
        yield started_servers[-1]
    finally:
        process.terminate()
        process.wait(timeout=60)
