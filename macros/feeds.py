"""The blueprints of models that the contracts of the feeds (`feeds/`) make, by way of a variable of config.py."""

from __future__ import annotations

from sqlglot import exp, parse_one
from sqlmesh import macro
from sqlmesh.core.macros import MacroEvaluator


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
