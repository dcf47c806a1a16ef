"""Waiting for a database that another process has open."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic, sleep
from typing import TypeVar

from rich.console import Console
from rich.markup import escape

from scripts.errors import DatabaseInUseError

_PAUSE_SECONDS = 0.2

Opened = TypeVar("Opened")


def once_free(opening: Callable[[], Opened], seconds: float, console: Console, pause: float = _PAUSE_SECONDS) -> Opened:
    """Opens a database as soon as no other process has it open, and says so once where it has to wait.

    Args:
        pause: Seconds between two attempts.

    Raises:
        DatabaseInUseError: Another process has it open still after so many seconds.
    """
    until = monotonic() + seconds
    waits = False
    while True:
        try:
            return opening()
        except DatabaseInUseError as error:
            left = until - monotonic()
            if left <= 0:
                raise
            if not waits:
                console.print(f"{escape(error.what)} Waiting up to {seconds:g} s.", soft_wrap=True)
                waits = True
            sleep(min(pause, left))
