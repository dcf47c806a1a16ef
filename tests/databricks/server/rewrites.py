"""What Databricks understands and Spark does not: the only changes that the server makes to a statement."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

import sqlglot

KINDS = ("create_volume", "current_catalog", "information_schema", "qualify", "volume_path")
VIEWS = ("columns", "schemata", "tables", "views")

SCANNER = re.compile(r"--[^\n]*|/\*.*?\*/|'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|`(?:[^`]|``)*`|\w+|=>|\S", re.S)


@dataclass(frozen=True)
class Word:
    """A word, quoted or not, or a sign of a statement, and where it stands; comments are not words."""

    text: str
    start: int
    end: int

    @property
    def key(self) -> str:
        """The word in capitals; a quoted one keeps its quotes and so is no keyword."""
        return self.text.upper()

    @property
    def bare(self) -> str:
        """The text without the quotes."""
        return self.text[1:-1] if self.text[0] in "'\"`" else self.text


@dataclass
class Statement:
    """A statement on its way to Spark.

    Attributes:
        sql: The text to run.
        kinds: The kinds of rewrite that were applied.
        views: Views of the information schema that the text reads.
        only: `table_schema` and `table_name` that the text restricts them to.
    """

    sql: str
    kinds: list[str] = field(default_factory=list)
    views: list[str] = field(default_factory=list)
    only: dict[str, str] = field(default_factory=dict)


def words(sql: str) -> list[Word]:
    """The words and signs of a statement, without comments and a closing semicolon."""
    found = [Word(match[0], *match.span()) for match in SCANNER.finditer(sql) if match[0][:2] not in ("--", "/*")]
    return found[:-1] if found and found[-1].text == ";" else found


def rewrite(sql: str, local_path: Callable[[str], str]) -> Statement:
    """Apply the allowed rewrites; `local_path` tells where a path of a volume is on this machine."""
    statement = Statement(sql)
    if any(word.key == "QUALIFY" for word in words(sql)):
        statement.kinds.append("qualify")
        statement.sql = sqlglot.transpile(sql, read="databricks", write="spark")[0]
    parts = words(statement.sql)
    changes: list[tuple[int, int, str]] = []

    def change(kind: str, first: Word, last: Word, text: str) -> None:
        statement.kinds.append(kind)
        changes.append((first.start, last.end, text))

    if [word.key for word in parts[:2]] == ["USE", "CATALOG"]:
        change("current_catalog", parts[0], parts[1], "SET CATALOG")
    for at, word in enumerate(parts):
        following = parts[at + 1 :]
        if word.bare.lower() == "information_schema" and len(following) > 1 and following[0].text == ".":
            view = following[1].bare.lower()
            if view in VIEWS:
                # The catalog's name stands before it, or nothing.
                first = parts[at - 2] if at > 1 and parts[at - 1].text == "." else word
                change("information_schema", first, following[1], view)
                statement.views.append(view)
        elif word.text.startswith("`/Volumes/"):
            change("volume_path", word, word, f"`{local_path(word.bare)}`")
        elif word.key == "READ_FILES" and [part.key for part in following[2:6]] == [",", "FORMAT", "=>", "'PARQUET'"]:
            change("volume_path", word, following[6], f"parquet.`{local_path(following[1].bare)}`")
    for start, end, text in reversed(changes):
        statement.sql = statement.sql[:start] + text + statement.sql[end:]
    # Only where each condition must hold: reading the columns of every table would take seconds.
    if len(statement.views) == 1 and not {word.key for word in parts} & {"OR", "NOT", "CASE", "UNION", "JOIN"}:
        for column, sign, value in zip(parts, parts[1:], parts[2:], strict=False):
            if column.bare.lower() in ("table_schema", "table_name") and sign.text == "=" and value.text[0] == "'":
                statement.only[column.bare.lower()] = value.bare
    return statement
