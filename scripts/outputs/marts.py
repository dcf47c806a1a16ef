"""The marts that go out of the project: the models tagged `export`, with the key and the columns that they declare."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import duckdb
from sqlglot import exp

from scripts.results import short_name

if TYPE_CHECKING:
    from sqlmesh import Model

EXPORT_TAG = "export"


@dataclass(frozen=True)
class Mart:
    """A mart that is exported: its name, of which files and published tables have theirs; its grain, by which its rows
    are sorted (columns, separated by a comma and a space); names and types of all columns, in DuckDB's words."""

    name: str
    key: str
    columns: tuple[tuple[str, str], ...]

    @property
    def table(self) -> str:
        return f"marts.{self.name}"


def exported_marts(models: Iterable[Model]) -> tuple[Mart, ...]:
    """The marts among some models, by name; that each has a grain is what the linter sees to."""
    tagged = {short_name(model.fqn): model for model in models if EXPORT_TAG in model.tags}
    marts = []
    for full_name, model in sorted(tagged.items()):
        key = ", ".join(column.name for column in model.grains[0].find_all(exp.Column))
        # In the words in which DuckDB itself names types: VARCHAR, DECIMAL(18,2).
        types = model.columns_to_types_or_raise.items()
        columns = tuple((name, str(duckdb.sqltype(type_.sql("duckdb")))) for name, type_ in types)
        marts.append(Mart(full_name.partition(".")[2], key, columns))
    return tuple(marts)
