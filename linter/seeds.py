"""Rules about seeds: what they say must come into the tables as it is said."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation

from sqlglot import exp
from sqlmesh.core.linter.rule import Rule, RuleViolation
from sqlmesh.core.model import Model, SeedModel


class SeedFitsItsTypes(Rule):
    """A number of a seed has no more digits than the type of its column.

    Reason to flag: the engine rounds what does not fit, and says nothing: a rate of 0.01255 would be paid as 0.0126.
    How to remedy: mend the number, or give the column a wider type, there and in the models that read it.
    """

    def check_model(self, model: Model) -> list[RuleViolation]:
        if not isinstance(model, SeedModel):
            return []
        return [
            self.violation(
                f"Model {model.name}: {text} in line {line} of its file has more digits than {column}, a "
                f"{kind.sql(dialect='duckdb')}, takes. Mend the number, or widen the type."
            )
            for line, column, text, kind in _numbers(model)
            if _is_too_long(text, kind)
        ]


def _numbers(model: SeedModel) -> Iterator[tuple[int, str, str, exp.DataType]]:
    """The texts of the columns of type DECIMAL, each with its line, column and type."""
    reader = csv.DictReader(io.StringIO(model.seed.content))
    types = {name: kind for name, kind in (model.columns_to_types or {}).items() if kind.is_type(exp.DType.DECIMAL)}
    for row in reader:
        yield from ((reader.line_num, column, row.get(column) or "", kind) for column, kind in types.items())


def _is_too_long(text: str, kind: exp.DataType) -> bool:
    precision, scale = (int(size.name) for size in kind.expressions)
    try:
        number = Decimal(text.strip())
    except InvalidOperation:
        return False  # SQLMesh says what is wrong with it.
    exponent = number.normalize().as_tuple().exponent
    return abs(number) >= Decimal(10) ** (precision - scale) or not isinstance(exponent, int) or exponent < -scale
