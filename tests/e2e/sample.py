"""The sample feed of `data/sample`, as files and as rows."""

from __future__ import annotations

import csv
import shutil
from datetime import datetime
from pathlib import Path

from scripts.feeds import ACCOUNT, CUSTOMER, Feed
from scripts.ingest.sample import SAMPLE
from tests.reference import Load


def copy_sample(folder: Path) -> Path:
    """Copies the two files into `folder`/inputs and returns that."""
    inputs = folder / "inputs"
    inputs.mkdir(parents=True)
    for feed in (CUSTOMER, ACCOUNT):
        shutil.copy(SAMPLE / feed.file_name, inputs / feed.file_name)
    return inputs


def read_load(inputs: Path, loaded_at: datetime) -> tuple[Load, dict[str, int]]:
    """The sound rows of both files, and the number of lines with too few or too many fields by feed."""
    rows: dict[str, list[tuple[str, ...]]] = {}
    rejected: dict[str, int] = {}
    for feed in (CUSTOMER, ACCOUNT):
        lines = _lines(feed, inputs)
        rows[feed.name] = [line for line in lines if len(line) == len(feed.columns)]
        rejected[feed.name] = len(lines) - len(rows[feed.name])
    return Load(loaded_at, rows[CUSTOMER.name], rows[ACCOUNT.name]), rejected


def _lines(feed: Feed, inputs: Path) -> list[tuple[str, ...]]:
    with (inputs / feed.file_name).open(newline="", encoding="utf-8") as file:
        return [tuple(line) for line in csv.reader(file)][1:]


def replace_line(path: Path, old: str, new: str) -> None:
    """Edits one line, as a person does."""
    text = path.read_text(encoding="utf-8")
    assert text.count(old + "\n") == 1, f"{old!r} is not one line of {path}"
    path.write_text(text.replace(old + "\n", new + "\n"), encoding="utf-8")
