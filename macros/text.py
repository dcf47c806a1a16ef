"""How received text is read: white space, ids, amounts, what is absent (docs/design.md, "Staging and quarantine").

All in one module: of a function that one macro module imports from another, SQLMesh keeps the name or the text, as the
process has it, and takes models for changed that are not.
"""

from __future__ import annotations

import re

from sqlglot import exp
from sqlmesh import macro
from sqlmesh.core.macros import MacroEvaluator

from macros.invisible import INVISIBLE_CODE_POINTS

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
# As escapes, not as the characters: in Spark's literals a vertical tab would come out as a v, a form feed as an f.
_SPACES = "[" + "".join(f"\\x{{{code_point:X}}}" for code_point in WHITE_SPACE_CODE_POINTS) + "]"
_SPACES_BUT_SPACE = _SPACES.replace("\\x{20}", "")

_INVISIBLE = "[" + "".join(re.sub("[0-9A-F]+", r"\\x{\g<0>}", INVISIBLE_CODE_POINTS).split()) + "]"

# What a field holds that holds no value.
ABSENT_WORDS = ("", "null", "n/a", "none")


def cleaned(text: exp.Expr) -> exp.Expr:
    """`text` without leading and trailing white space; only what has some is trimmed, for that is slow."""
    return exp.case().when(_matches(text, f"^{_SPACES}|{_SPACES}$"), _trimmed(text)).else_(text)


def of_form(text: exp.Expr, form: str) -> exp.Expr:
    """Whether `text`, white space around it aside, is all of the form of a regular expression."""
    return _matches(text, f"^{_SPACES}*(?:{form}){_SPACES}*$")


def absent(text: exp.Expr) -> exp.Expr:
    """Whether `text` stands for no value: blank, null, n/a or none, in any case."""
    return _one_of(text, *ABSENT_WORDS)


def without_leading_zeros(text: exp.Expr) -> exp.Expr:
    """`text` without the zeros at its beginning; one stays where there is nothing else."""
    rest = exp.Trim(this=text, expression=exp.Literal.string("0"), position="LEADING")
    return exp.case().when(rest.eq(""), exp.Literal.string("0")).else_(rest.copy())


def id_text(text: exp.Expr, *, is_stripped: bool) -> exp.Expr:
    """An id without the white space around it, and where its feed declares that, without leading zeros."""
    return without_leading_zeros(cleaned(text)) if is_stripped else cleaned(text)


def plain_amount(text: exp.Expr, decimal: str = ".", thousands: str = "") -> exp.Expr:
    """`text` as digits with a decimal point and no other separator; NULL where it is no amount written with these."""
    whole = f"[0-9]+|[0-9]{{1,3}}(?:[{thousands}][0-9]{{3}})+" if thousands else "[0-9]+"
    plain = cleaned(text)
    for separator, meant in ((thousands, ""), (decimal, ".")):
        if separator not in ("", meant):
            plain = exp.func("REPLACE", plain, exp.Literal.string(separator), exp.Literal.string(meant))
    return exp.case().when(of_form(text, f"[+-]?(?:{whole})(?:[{decimal}][0-9]+)?"), plain)


@macro()
def clean(evaluator: MacroEvaluator, text: exp.Expr) -> exp.Expr:
    """`text` without leading and trailing white space."""
    return cleaned(text)


@macro()
def collapse_white_space(evaluator: MacroEvaluator, text: exp.Expr) -> exp.Expr:
    """`text` trimmed, each inner run of white space (newlines too) made one space; only where there is a need to."""
    collapsed = _replaced(_trimmed(text), f"{_SPACES}+", " ")
    return exp.case().when(_matches(text, f"^ | $|  |{_SPACES_BUT_SPACE}"), collapsed).else_(text)


@macro()
def has_form(evaluator: MacroEvaluator, text: exp.Expr, form: exp.Expr) -> exp.Expr:
    """Whether `text`, white space around it aside, is all of the form of a regular expression."""
    return of_form(text, form.name)


@macro()
def is_one_of(evaluator: MacroEvaluator, text: exp.Expr, *words: exp.Expr) -> exp.Expr:
    """Whether `text`, white space around it aside, is one of the words (lower-case ASCII), in any case."""
    return _one_of(text, *(word.name for word in words))


@macro()
def is_absent(evaluator: MacroEvaluator, text: exp.Expr) -> exp.Expr:
    """Whether `text` stands for no value: blank, null, n/a or none, in any case."""
    return absent(text)


@macro()
def is_customer_id(evaluator: MacroEvaluator, text: exp.Expr) -> exp.Expr:
    """Whether `text` is a positive whole number of at most 18 digits in canonical form."""
    return of_form(text, "[1-9][0-9]{0,17}")


@macro()
def holds_invisible(evaluator: MacroEvaluator, text: exp.Expr) -> exp.Expr:
    """Whether `text` holds a character that can't be seen; the long list is only gone through where there is a need."""
    return exp.paren(exp.and_(_matches(text, "[^ -~]"), _matches(text, _INVISIBLE)))


@macro()
def all_reasons(evaluator: MacroEvaluator, *codes: exp.Expr) -> exp.Expr:
    """The codes that are not NULL, in their order, joined by a comma and a space; empty where there is none.

    CONCAT_WS would say the same, but sqlglot's translation of it makes the whole text NULL where one part is.
    """
    joined: exp.Expr | None = None
    for code in codes:
        part = exp.func("COALESCE", exp.DPipe(this=code, expression=exp.Literal.string(", ")), exp.Literal.string(""))
        joined = exp.DPipe(this=joined, expression=part) if joined is not None else part
    return exp.Trim(this=joined, expression=exp.Literal.string(", "), position="TRAILING")


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
    """An id as `id_text` reads it, by the columns whose leading zeros its feed takes off."""
    return id_text(column, is_stripped=column.name in _texts(stripped))


@macro()
def amount_text(evaluator: MacroEvaluator, text: exp.Expr, separators: exp.Expr) -> exp.Expr:
    """An amount as digits with a decimal point; NULL where `text` is none as its feed writes them."""
    return plain_amount(text, *_texts(separators))


def _one_of(text: exp.Expr, *words: str) -> exp.Expr:
    return of_form(text, "|".join(map(_in_any_case, words)))


def _in_any_case(word: str) -> str:
    """A pattern of both cases of each letter: the engines' own folding goes beyond ASCII, each in its way."""
    return "".join(f"[{letter.upper()}{letter}]" if letter.isalpha() else letter for letter in word)


def _matches(text: exp.Expr, pattern: str) -> exp.Expr:
    return exp.RegexpLike(this=text.copy(), expression=exp.Literal.string(pattern))


def _trimmed(text: exp.Expr) -> exp.Expr:
    return _replaced(text.copy(), f"^{_SPACES}+|{_SPACES}+$", "")


def _replaced(text: exp.Expr, pattern: str, replacement: str) -> exp.Expr:
    return exp.RegexpReplace(
        this=text,
        expression=exp.Literal.string(pattern),
        replacement=exp.Literal.string(replacement),
        modifiers=exp.Literal.string("g"),
    )


def _texts(listed: exp.Expr) -> list[str]:
    return [text.name for text in listed.expressions]


def _described(value: exp.Expr, name: str, description: str) -> exp.Expr:
    projection = exp.alias_(exp.cast(value, "TEXT", dialect="duckdb"), name)
    projection.add_comments([f" {description} "])
    return projection
