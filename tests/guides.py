"""A guide of `docs/` as its reader uses it: its blocks of changes and commands, applied to a copy in their order."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from scripts.settings import PROJECT_ROOT

_BLOCK = re.compile(r"^```(?P<kind>\w+)(?: title=\"(?P<title>[^\"]+)\")?\n(?P<text>.*?)^```$", re.M | re.S)
_HEADING = re.compile(r"^## (.+)$", re.M)
_PATCHED = re.compile(r"^\+\+\+ b/(.+)$", re.M)
_LEFT_BEHIND = (".git", ".venv*", ".cache", "logs", "data", "__pycache__", ".*_cache", ".hypothesis", ".env")


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        section: Heading under which it stands.
        kind: sh is run; diff is a patch; text is what the block of commands before it prints, in parts.
        title: File that it is, whole; None where it is none.
    """

    section: str
    kind: str
    title: str | None
    text: str

    @property
    def files(self) -> list[str]:
        """The files that it makes or changes."""
        return [self.title] if self.title else _PATCHED.findall(self.text) if self.kind == "diff" else []


def blocks_of(guide: Path) -> Iterator[Block]:
    text = guide.read_text(encoding="utf-8")
    headings = [(match.start(), match[1]) for match in _HEADING.finditer(text)]
    for match in _BLOCK.finditer(text):
        section = [heading for start, heading in headings if start < match.start()]
        yield Block(section[-1] if section else "", match["kind"], match["title"], match["text"])


class Reader:
    """Somebody who does what a guide says, in a copy of the project without data."""

    def __init__(self, folder: Path) -> None:
        self.project = folder / "project"
        shutil.copytree(PROJECT_ROOT, self.project, ignore=shutil.ignore_patterns(*_LEFT_BEHIND), symlinks=True)
        shutil.copytree(PROJECT_ROOT / "data" / "sample", self.project / "data" / "sample")
        (self.project / ".venv").symlink_to(sys.prefix)
        self._printed = ""

    def follow(self, block: Block) -> None:
        """Does what a block says, and looks whether that comes out which it shows."""
        if block.title:
            path = self.project / block.title
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
        elif block.kind == "diff":
            self._run(["git", "apply", "-"], block.text)
        elif block.kind == "sh":
            self._printed = self._run(["bash", "-euo", "pipefail"], block.text)
        elif block.kind == "text":
            assert_shown(block.text, self._printed)

    def _run(self, command: list[str], given: str) -> str:
        environment = {name: os.environ[name] for name in ("PATH", "HOME", "COLUMNS") if name in os.environ}
        # git apply must not take the repository around a scratch folder for the project's.
        environment["GIT_CEILING_DIRECTORIES"] = str(self.project.parent)
        ended = subprocess.run(
            command, input=given, cwd=self.project, env=environment, capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, f"{given}\n{ended.stdout}\n{ended.stderr}"
        return ended.stdout


def assert_shown(shown: str, printed: str) -> None:
    """All lines shown were printed, in their order; white space does not count, nor what was printed between them."""
    lines = iter([" ".join(line.split()) for line in printed.splitlines()])
    for line in shown.splitlines():
        expected = " ".join(line.split())
        assert not expected or expected in lines, f"not printed: {line}\n\nPrinted was:\n{printed}"
