"""What the guides show is what happens: their blocks are applied to a copy of the project, one after the other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from scripts.settings import PROJECT_ROOT
from tests.guides import Reader, assert_shown, blocks_of

EXTENDING = PROJECT_ROOT / "docs" / "extending.md"
# What a command of the guide writes.
WRITTEN = {"tools.external_models": "external_models.yaml"}


def test_the_guide_to_extending_is_true(tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    for block in blocks_of(EXTENDING):
        reader.follow(block)


@pytest.mark.parametrize(
    ("section", "row", "at_most"),
    [
        ("A column", "a column that reaches a mart", 4),
        ("A rule of validity", "a rule of validity", 1),
        ("A mart", "a mart", 1),
        ("A feed", "a feed with history", 4),
    ],
)
def test_the_guide_counts_the_files_that_a_change_touches(section: str, row: str, at_most: int) -> None:
    blocks = [block for block in blocks_of(EXTENDING) if block.section == section]
    touched = {file for block in blocks for file in block.files}
    touched |= {file for block in blocks for command, file in WRITTEN.items() if command in block.text}
    production = {file for file in touched if not file.startswith("tests/")}
    if section == "A feed":
        production = {file for file in production if not file.startswith("models/")}
    table = re.search(rf"^\| {row} \| (\d+):", EXTENDING.read_text(encoding="utf-8"), re.M)
    assert table
    assert len(production) == int(table[1]) <= at_most, sorted(production)


@pytest.mark.parametrize("printed", ["a 1\nc 3\n", "b 2\na 1\n", ""])
def test_what_is_shown_and_not_printed_is_found_out(printed: str) -> None:
    with pytest.raises(AssertionError, match="not printed: "):
        assert_shown("a  1\nb 2\n", printed)
