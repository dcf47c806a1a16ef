"""One load at a time on a warehouse that locks nothing: a row of `landing.lease` that a load holds while it lives.

Whoever holds it has it until a time that is put off again and again: of a load that was killed it runs out. Taking it
is one UPDATE of one row, of which Delta lets only one succeed. All times are the warehouse's.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from threading import Event, Thread
from typing import TYPE_CHECKING, NamedTuple

from rich.console import Console

from scripts.errors import DatabaseInUseError, PipelineError
from scripts.warehouse.open import once_free

if TYPE_CHECKING:
    from scripts.warehouse.databricks import DatabricksWarehouse

# Shorter than LOCK_TIMEOUT is by default: who comes after a load that was killed waits, and goes on.
LEASE_SECONDS = 50
RENEWED_AFTER_SECONDS = 15
_NOW = "CAST(CURRENT_TIMESTAMP() AS TIMESTAMP_NTZ)"
_LATER = f"{_NOW} + INTERVAL '{LEASE_SECONDS}' SECOND"
# What Delta says to the one that another was faster than.
LOST_RACE = "[DELTA_CONCURRENT_"

console = Console(highlight=False)


class _Holder(NamedTuple):
    """Who holds the lease, or held it last."""

    load_id: str
    host: str
    pid: int
    taken_at: datetime
    until_at: datetime
    is_live: bool


@contextmanager
def lease(
    warehouse: DatabricksWarehouse, load_id: str, lock_timeout: float, connect: Callable[[], DatabricksWarehouse]
) -> Iterator[None]:
    """Holds the lease under the load's id, and waits for it where another load holds it; raises DatabaseInUseError
    where that one holds it still after so many seconds. `connect` opens a connection of its own for a load that takes
    longer than the lease: two threads don't share one."""
    once_free(lambda: _take(warehouse, load_id), lock_timeout, console, pause=2)
    ended = Event()
    keeper = Thread(target=_keep, args=(load_id, connect, ended), daemon=True)
    keeper.start()
    try:
        yield
    finally:
        ended.set()
        keeper.join(LEASE_SECONDS)
        with suppress(PipelineError):
            _set_until(warehouse, load_id, _NOW)


def is_held(load_id: str) -> str:
    """SQL for: the load holds the lease. It does so also after its time, as long as no other has taken it."""
    return f"EXISTS (SELECT 1 FROM landing.lease WHERE load_id = '{load_id}')"


def _take(warehouse: DatabricksWarehouse, load_id: str) -> None:
    holders = _holders(warehouse)
    if holders and holders[0].is_live:
        raise _in_use(holders[0])
    columns = ("load_id", "host", "pid", "taken_at", "until_at")
    values = (f"'{load_id}'", ":host", str(os.getpid()), _NOW, _LATER)
    if holders:
        assigned = ", ".join(f"{column} = {value}" for column, value in zip(columns, values, strict=True))
        statement = f"UPDATE landing.lease SET {assigned} WHERE until_at <= {_NOW}"
    else:
        if_none = "WHERE NOT EXISTS (SELECT 1 FROM landing.lease)"
        statement = f"INSERT INTO landing.lease ({', '.join(columns)}) SELECT {', '.join(values)} {if_none}"
    try:
        warehouse.execute_native(statement, {"host": socket.gethostname()})
    except PipelineError as error:
        if LOST_RACE not in str(error):
            raise
    # Two that come first of all may insert a row each: who sees another's steps back.
    others = [holder for holder in _holders(warehouse) if holder.load_id != load_id]
    if others:
        _set_until(warehouse, load_id, _NOW)
        raise _in_use(others[0])


def _keep(load_id: str, connect: Callable[[], DatabricksWarehouse], ended: Event) -> None:
    """Puts off the time again and again. Where that fails, the commit of the load finds out what came of it."""
    while not ended.wait(RENEWED_AFTER_SECONDS):
        with suppress(Exception), closing(connect()) as warehouse:
            _set_until(warehouse, load_id, _LATER)
            while not ended.wait(RENEWED_AFTER_SECONDS):
                _set_until(warehouse, load_id, _LATER)


def _set_until(warehouse: DatabricksWarehouse, load_id: str, until: str) -> None:
    warehouse.execute_native(f"UPDATE landing.lease SET until_at = {until} WHERE load_id = '{load_id}'")


def _holders(warehouse: DatabricksWarehouse) -> list[_Holder]:
    """Who holds the lease, or held it, the latest end first: there is one but for a moment after the first of all."""
    rows = warehouse.fetch_native(
        f"SELECT load_id, host, pid, taken_at, until_at, until_at > {_NOW} FROM landing.lease ORDER BY until_at DESC"
    )
    return [_Holder(*row) for row in rows]


def _in_use(holder: _Holder) -> DatabaseInUseError:
    return DatabaseInUseError(
        f"Another ingest writes to the landing zone: PID {holder.pid} on {holder.host}, since "
        f"{holder.taken_at:%Y-%m-%d %H:%M:%S} UTC; its lease runs until {holder.until_at:%H:%M:%S} UTC and is renewed "
        "while it lives.",
        "Run again when it has ended; one that was killed is out of the way when its lease has run out.",
    )
