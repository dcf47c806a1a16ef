"""The contract of the tables that others read: what a deploy may not take away from their columns and types."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlglot import exp
from sqlmesh import Context
from sqlmesh.core.model import Model

from scripts.errors import DeployRefusedError
from scripts.project.prod import prod_snapshots

PUBLISHED_LAYERS = ("snapshots", "marts")
# Each holds every value of those before it, exactly.
WIDENING_TYPES = (
    (exp.DType.TINYINT, exp.DType.SMALLINT, exp.DType.INT, exp.DType.BIGINT, exp.DType.INT128),
    (exp.DType.FLOAT, exp.DType.DOUBLE),
)

Columns = Mapping[str, exp.DataType]


def refuse_broken_promises(context: Context) -> None:
    """Stops, with a DeployRefusedError, where this folder lacks a published model or column of prod, or has it with a
    type that no longer holds every value that it held."""
    broken = broken_promises(
        published_columns(snapshot.model for snapshot in prod_snapshots(context) if snapshot.is_model),
        published_columns(context.models.values()),
    )
    if broken:
        raise DeployRefusedError(
            "Deploying the models of this folder would break what readers of prod's tables rely on:\n"
            + "\n".join(f"    {sentence}" for sentence in broken)
            + "\nNothing was written. Keep these columns and types (a new column beside them is fine), or insist with "
            "--breaking once their readers are ready."
        )


def published_columns(models: Iterable[Model]) -> dict[str, Columns]:
    """Columns and types of the models that others read, by the model's name."""
    return {
        model.name: model.columns_to_types_or_raise
        for model in models
        if model.name.split(".")[0] in PUBLISHED_LAYERS and not model.kind.is_embedded
    }


def broken_promises(before: Mapping[str, Columns], after: Mapping[str, Columns]) -> list[str]:
    """A sentence for each model or column of `before` that `after` lacks, or has with a narrower type."""
    broken = []
    for model, columns in before.items():
        if model not in after:
            broken.append(f"{model} is gone.")
            continue
        for column, old in columns.items():
            new = after[model].get(column)
            if new is None:
                broken.append(f"{model}: column {column} ({_sql(old)}) is gone.")
            elif not holds_all_of(old, new):
                broken.append(f"{model}: column {column} is {_sql(old)} and would be {_sql(new)}.")
    return broken


def holds_all_of(old: exp.DataType, new: exp.DataType) -> bool:
    """Whether a type has a place for every value of another one of its family, exactly; no type has for another's."""
    if old.this == new.this == exp.DType.DECIMAL:
        return all(more >= less for more, less in zip(_digits(new), _digits(old), strict=True))
    for family in WIDENING_TYPES:
        if old.this in family and new.this in family:
            return family.index(old.this) <= family.index(new.this)
    return old == new


def _digits(decimal: exp.DataType) -> tuple[int, int]:
    """Digits before and after the point."""
    precision, *scale = (int(parameter.name) for parameter in decimal.expressions)
    return precision - sum(scale), sum(scale)


def _sql(kind: exp.DataType) -> str:
    return kind.sql(dialect="duckdb")
