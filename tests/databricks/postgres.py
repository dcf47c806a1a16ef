"""A PostgreSQL server of the tests' own, for SQLMesh's state."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

USER = "lending_club"
DATABASE = "sqlmesh_state"
START_SECONDS = 60


def postgres_programs() -> Path | None:
    """The folder of `initdb` and `postgres`; None where PostgreSQL's server is not installed."""
    found = shutil.which("initdb")
    folders = [Path(found).parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in folders if (folder / "postgres").exists() and (folder / "initdb").exists()), None)


@contextmanager
def postgres(programs: Path) -> Iterator[dict[str, str]]:
    """Starts a server with an empty database, and stops and removes it at the end; gives the STATE_* settings."""
    # Not under pytest's folder: the server refuses to run as root, and nobody else may look in there.
    folder = Path(tempfile.mkdtemp(prefix="state-"))
    try:
        password = secrets.token_hex(16)
        (folder / "password").write_text(password)
        run_as = _unprivileged(folder)
        options = f"-U {USER} -A scram-sha-256 -E UTF8 --locale=C --no-sync".split()
        _run([programs / "initdb", *options, "-D", folder / "data", f"--pwfile={folder / 'password'}"], run_as)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [programs / "postgres", "-D", folder / "data", "-p", str(port), "-k", folder]
        with (folder / "server.log").open("w") as log:
            server = subprocess.Popen(
                [*map(str, command), "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"],
                stdout=log,
                stderr=log,
                cwd=folder,
                **run_as,
            )
        settings = {
            "STATE_HOST": "127.0.0.1",
            "STATE_PORT": str(port),
            "STATE_DATABASE": DATABASE,
            "STATE_USER": USER,
            "STATE_PASSWORD": password,
        }
        try:
            _create_database(settings, server, folder / "server.log")
            yield settings
        finally:
            server.send_signal(signal.SIGINT)  # does not wait for its clients
            server.wait(timeout=60)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def fetch(settings: dict[str, str], query: str) -> list[tuple[Any, ...]]:
    """The rows of a query on the server."""
    connection = _connect(settings, settings["STATE_DATABASE"])
    try:
        with connection.cursor() as cursor:
            cursor.execute(query)
            return list(cursor.fetchall())
    finally:
        connection.close()


def _connect(settings: dict[str, str], database: str) -> Any:
    import psycopg2  # type: ignore[import-untyped]

    return psycopg2.connect(
        host=settings["STATE_HOST"],
        port=settings["STATE_PORT"],
        user=settings["STATE_USER"],
        password=settings["STATE_PASSWORD"],
        dbname=database,
    )


def _create_database(settings: dict[str, str], server: subprocess.Popen[Any], log: Path) -> None:
    import psycopg2

    deadline = time.monotonic() + START_SECONDS
    while True:
        with suppress(psycopg2.OperationalError):
            connection = _connect(settings, "postgres")
            break
        if server.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(f"PostgreSQL did not start:\n{log.read_text()[-2000:]}")
        time.sleep(0.1)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {DATABASE}")
    connection.close()


def _unprivileged(folder: Path) -> dict[str, Any]:
    """Options for a subprocess that may be PostgreSQL: it refuses to be root. The folder becomes that user's."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            user = pwd.getpwnam(name)
            for path in (folder, *folder.iterdir()):
                os.chown(path, user.pw_uid, user.pw_gid)
            return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    raise AssertionError("Run these tests as another user than root: PostgreSQL refuses to be started by root.")


def _run(command: list[Any], options: dict[str, Any]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/", **options)
    assert done.returncode == 0, f"{command[0]} failed:\n{done.stdout}{done.stderr}"
