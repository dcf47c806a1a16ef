"""How received text is read: white space, and what counts as absent (design: "Staging and quarantine")."""

from __future__ import annotations

import string

from sqlglot import exp
from sqlmesh import macro
from sqlmesh.core.macros import MacroEvaluator

# Unicode's White_Space property: neither engine's TRIM nor its \s agrees with it, nor do they with each other.
WHITE_SPACE_CODE_POINTS = (
    *range(0x09, 0x0E),
    0x20,
    0x85,
    0xA0,
    0x1680,
    *range(0x2000, 0x200B),
    0x2028,
    0x2029,
    0x202F,
    0x205F,
    0x3000,
)
WHITE_SPACE = "".join(map(chr, WHITE_SPACE_CODE_POINTS))
ABSENT_WORDS = ("", "null", "n/a", "none")


@macro()
def clean(evaluator: MacroEvaluator, text: exp.Expression) -> exp.Expression:
    """`text` without leading and trailing white space."""
    return exp.Trim(this=text, expression=exp.Literal.string(WHITE_SPACE))


@macro()
def collapse_white_space(evaluator: MacroEvaluator, text: exp.Expression) -> exp.Expression:
    """`text` trimmed, each inner run of white space (newlines too) made one space."""
    return exp.RegexpReplace(
        this=exp.Trim(this=text, expression=exp.Literal.string(WHITE_SPACE)),
        expression=exp.Literal.string(f"[{WHITE_SPACE}]+"),
        replacement=exp.Literal.string(" "),
        modifiers=exp.Literal.string("g"),
    )


@macro()
def lower_ascii(evaluator: MacroEvaluator, text: exp.Expression) -> exp.Expression:
    """`text` with A to Z in lower case and every other letter as it is.

    LOWER differs between the engines beyond ASCII, and makes an i of the Turkish capital, a k of the Kelvin sign.
    """
    return exp.func(
        "TRANSLATE", text, exp.Literal.string(string.ascii_uppercase), exp.Literal.string(string.ascii_lowercase)
    )


@macro()
def is_absent(evaluator: MacroEvaluator, cleaned: exp.Expression) -> exp.Expression:
    """Whether a cleaned text stands for no value: blank, null, n/a or none, in any case."""
    return lower_ascii(evaluator, cleaned).isin(*ABSENT_WORDS)


@macro()
def is_customer_id(evaluator: MacroEvaluator, cleaned: exp.Expression) -> exp.Expression:
    """Whether a cleaned text is a positive whole number of at most 18 digits in canonical form."""
    return exp.RegexpLike(this=cleaned, expression=exp.Literal.string("^[1-9][0-9]{0,17}$"))


@macro()
def all_reasons(evaluator: MacroEvaluator, *codes: exp.Expression) -> exp.Expression:
    """The codes that are not NULL, in their order, joined by a comma and a space; empty where there is none.

    CONCAT_WS would say the same, but sqlglot's translation of it makes the whole text NULL where one part is.
    """
    joined: exp.Expression | None = None
    for code in codes:
        part = exp.func("COALESCE", exp.DPipe(this=code, expression=exp.Literal.string(", ")), exp.Literal.string(""))
        joined = exp.DPipe(this=joined, expression=part) if joined is not None else part
    return exp.Trim(this=joined, expression=exp.Literal.string(", "), position="TRAILING")
