"""What models take from the contracts of the feeds (`feeds/`), by way of variables of config.py."""

from __future__ import annotations

from sqlglot import exp, parse_one
from sqlmesh import macro
from sqlmesh.core.macros import MacroEvaluator

from macros.text import absent, cleaned, plain_amount, without_leading_zeros


@macro()
def feeds(evaluator: MacroEvaluator) -> list[exp.Expr]:
    """A blueprint for each feed.

    Of it are `feed`, its name, also as the text `feed_text`; `key`, the column of its trimmed key; `columns`, as its
    change log names them, and `descriptions` of these; and `whole_row`, what tells a row of the change log from all
    others.
    """
    blueprints: list[exp.Expr] = []
    for declared in evaluator.var("feeds") or ():
        feed, columns = declared["feed"], ", ".join(declared["columns"])
        texts = ", ".join(exp.Literal.string(text).sql() for text in declared["descriptions"])
        values = {
            "feed": feed,
            "feed_text": f"'{feed}'",
            "key": f"{feed}_key",
            "columns": f"({columns})",
            "descriptions": f"({texts})",
            "whole_row": f"(loaded_at, {feed}_key, {columns})",
        }
        blueprints.append(
            exp.Tuple(
                expressions=[
                    exp.PropertyEQ(this=exp.to_identifier(variable), expression=parse_one(value, dialect="duckdb"))
                    for variable, value in values.items()
                ]
            )
        )
    return blueprints


@macro()
def as_received(
    evaluator: MacroEvaluator,
    columns: exp.Expr,
    descriptions: exp.Expr,
    source_prefix: exp.Expr | None = None,
    output_prefix: exp.Expr | None = None,
) -> list[exp.Expr]:
    """The columns of a feed as text, each with its description; the prefixes stand before their names in what is read
    and in what comes out."""
    before, after = (prefix.name if prefix else "" for prefix in (source_prefix, output_prefix))
    projections: list[exp.Expr] = []
    for column, description in zip(columns.expressions, descriptions.expressions, strict=True):
        received = exp.column(before + column.name)
        projections.append(_described(received, after + column.name, f"{description.name} as received"))
    return projections


@macro()
def attributes_received(evaluator: MacroEvaluator, names: exp.Expr, descriptions: exp.Expr) -> list[exp.Expr]:
    """The columns that history takes over as text, read from what was received: trimmed, NULL where absent."""
    return [
        _described(exp.case().when(exp.not_(absent(column)), cleaned(column)), column.name, description.name)
        for column, description in zip(map(exp.column, _texts(names)), descriptions.expressions, strict=True)
    ]


@macro()
def attributes(
    evaluator: MacroEvaluator, names: exp.Expr, descriptions: exp.Expr, of_table: exp.Expr | None = None
) -> list[exp.Expr]:
    """The columns that history takes over as text, handed on as they are."""
    table = of_table.name if of_table else None
    return [
        _described(exp.column(name, table), name, description.name)
        for name, description in zip(_texts(names), descriptions.expressions, strict=True)
    ]


@macro()
def identifier(evaluator: MacroEvaluator, column: exp.Column, stripped: exp.Expr) -> exp.Expr:
    """An id without the white space around it, and where its feed declares that, without leading zeros."""
    return without_leading_zeros(cleaned(column)) if column.name in _texts(stripped) else cleaned(column)


@macro()
def amount_text(evaluator: MacroEvaluator, text: exp.Expr, separators: exp.Expr) -> exp.Expr:
    """An amount as digits with a decimal point; NULL where `text` is none as its feed writes them."""
    return plain_amount(text, *_texts(separators))


def _texts(listed: exp.Expr) -> list[str]:
    return [text.name for text in listed.expressions]


def _described(value: exp.Expr, name: str, description: str) -> exp.Expr:
    projection = exp.alias_(exp.cast(value, "TEXT", dialect="duckdb"), name)
    projection.add_comments([f" {description} "])
    return projection
