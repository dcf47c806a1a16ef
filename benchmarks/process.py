"""A command in a process of its own, and what it took."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from scripts.errors import PipelineError

LAUNCHER = Path(__file__).with_name("launcher.py")
SHOWN_LINES = 20


@dataclass(frozen=True)
class Command:
    """What to run, where, and the variables that it gets besides those of this process."""

    arguments: Sequence[str]
    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Usage:
    """What a process and those that it started took.

    Attributes:
        wall_seconds: From its start to its end.
        cpu_seconds: User and system time of all of them.
        peak_bytes: Resident memory of the largest of them at its peak.
    """

    wall_seconds: float
    cpu_seconds: float
    peak_bytes: int


def run_measured(command: Command, log: Path) -> Usage:
    """Runs a command to its end; `log` takes both its streams.

    Raises:
        PipelineError: It ended with another exit code than 0; the message has its last lines.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="lending_club_usage_") as folder, log.open("wb") as output:
        result = Path(folder) / "usage.json"
        ended = subprocess.run(
            [sys.executable, "-S", "-E", str(LAUNCHER), str(result), *command.arguments],
            cwd=command.folder,
            env=os.environ | command.environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
        if ended.returncode:
            last = "\n".join(log.read_text(errors="replace").splitlines()[-SHOWN_LINES:])
            raise PipelineError(f"{command.arguments[0]} ended with exit code {ended.returncode}. Last lines:\n{last}")
        return Usage(**json.loads(result.read_text(encoding="utf-8")))
