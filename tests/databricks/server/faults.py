"""Failures on demand, switched on by the tests over the server's control address."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from threading import Lock
from typing import Any


@dataclass
class Drop:
    """Cut the connection at the next statements that match, before or after they were executed."""

    pattern: str
    executed: bool
    times: int


@dataclass
class Faults:
    """What shall go wrong.

    Attributes:
        expired_status: HTTP status for every request, as for a token that has expired; None for no fault.
        unavailable: How many of the next requests are answered 503.
        retry_after_seconds: The header Retry-After of those.
        drops: Where to cut the connection.
        bare_folders: Whether LIST writes folders without the slash at their end.
    """

    expired_status: int | None = None
    unavailable: int = 0
    retry_after_seconds: int = 1
    drops: list[Drop] = field(default_factory=list)
    bare_folders: bool = False
    _lock: Lock = field(default_factory=Lock, repr=False)

    def set(self, wanted: dict[str, Any]) -> None:
        """Replace all faults by those of `wanted`; what it does not name is off."""
        with self._lock:
            self.expired_status = wanted.get("expired_status")
            self.unavailable = wanted.get("unavailable", 0)
            self.retry_after_seconds = wanted.get("retry_after_seconds", 1)
            self.drops = [Drop(**drop) for drop in wanted.get("drops", [])]
            self.bare_folders = wanted.get("bare_folders", False)

    def take_unavailable(self) -> bool:
        """Whether the request at hand is to be answered 503."""
        with self._lock:
            hit = self.unavailable > 0
            self.unavailable -= hit
            return hit

    def drop_for(self, sql: str) -> Drop | None:
        """The fault that meets this statement, counted down."""
        with self._lock:
            drop = next((drop for drop in self.drops if drop.times and re.search(drop.pattern, sql)), None)
            if drop:
                drop.times -= 1
            return drop
