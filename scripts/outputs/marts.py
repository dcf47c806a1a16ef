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
    marts = {short_name(model.fqn): model for model in models if EXPORT_TAG in model.tags}
    return tuple(
        Mart(
            name.partition(".")[2],
            ", ".join(column.name for column in model.grains[0].find_all(exp.Column)),
            tuple((column, _in_duckdb(type_)) for column, type_ in model.columns_to_types_or_raise.items()),
        )
        for name, model in sorted(marts.items())
    )


def _in_duckdb(type_: exp.DataType) -> str:
    """A type in the words in which DuckDB itself names it: VARCHAR, DECIMAL(18,2)."""
    return str(duckdb.sqltype(type_.sql(dialect="duckdb")))
