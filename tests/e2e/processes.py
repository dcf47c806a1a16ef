"""Commands of the pipeline in processes of their own, some of which die at a chosen moment.

They are forked from one process that has SQLMesh imported: that takes a tenth of a second instead of four.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import sys
from dataclasses import dataclass
from functools import reduce
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import scripts.project.transform  # noqa: F401  the import that takes seconds
from scripts.pipeline import cli

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload([__name__])


@dataclass(frozen=True)
class Moment:
    """A call at which a process is killed (SIGKILL).

    Attributes:
        function: `module:function` or `module:Class.method`.
        call: Which one of the calls that count, from 1 on.
        after: Whether the call is let through first.
        about: Only calls count that have this text in an argument, or in an argument's name.
    """

    function: str
    call: int = 1
    after: bool = False
    about: str = ""

    def arm(self) -> None:
        """Replaces the function by one that kills this process."""
        module_name, _, path = self.function.partition(":")
        *owners, name = path.split(".")
        owner = reduce(getattr, owners, importlib.import_module(module_name))
        original = getattr(owner, name)
        calls = 0

        def deadly(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            calls += any(self.about in text for arg in args for text in (str(getattr(arg, "name", "")), _text(arg)))
            if calls < self.call:
                return original(*args, **kwargs)
            if self.after:
                original(*args, **kwargs)
            os.kill(os.getpid(), signal.SIGKILL)
            return None

        setattr(owner, name, deadly)


@dataclass(frozen=True)
class Ended:
    """A process that has ended; `exit_code` is negative where a signal ended it."""

    exit_code: int | None
    output: str


class Command:
    """`python -m scripts.pipeline` with these arguments and the environment of this moment."""

    def __init__(self, folder: Path, *arguments: str, dying_at: Moment | None = None) -> None:
        self._output = folder / f"output-{len(list(folder.glob('output-*')))}.txt"
        self._output.touch()
        self._process: ForkServerProcess = _CONTEXT.Process(
            target=_work, args=(arguments, dict(os.environ), str(self._output), dying_at)
        )
        self._process.start()

    def kill_after(self, seconds: float) -> None:
        """Kills the process after so long, if it is not at its end before."""
        self._process.join(seconds)
        if self._process.exitcode is None:
            self._process.kill()

    def wait_for(self, text: str) -> None:
        """Returns once the process has printed the text, or has ended."""
        while text not in self._output.read_text(encoding="utf-8") and self._process.exitcode is None:
            self._process.join(0.05)

    def ended(self) -> Ended:
        self._process.join()
        return Ended(self._process.exitcode, self._output.read_text(encoding="utf-8"))


def run(folder: Path, *arguments: str, dying_at: Moment | None = None) -> Ended:
    return Command(folder, *arguments, dying_at=dying_at).ended()


def _text(argument: Any) -> str:
    return argument if isinstance(argument, str) else ""


def _work(arguments: tuple[str, ...], environment: dict[str, str], output: str, dying_at: Moment | None) -> None:
    descriptor = os.open(output, os.O_WRONLY | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", buffering=1)
    os.environ.clear()
    os.environ.update(environment)
    if dying_at:
        dying_at.arm()
    cli.main(list(arguments), prog_name="pipeline")
