"""The macros, rendered and run on DuckDB: the edges that the models' YAML tests don't reach."""

from __future__ import annotations

import sys
import unicodedata
from datetime import datetime
from typing import Any

import duckdb
import pytest
from sqlglot import exp, parse_one
from sqlmesh.core.engine_adapter import create_engine_adapter
from sqlmesh.core.macros import MacroEvaluator

import macros.history  # noqa: F401  (registers its macros)
from macros import invisible, landing, text
from scripts.errors import ForeignObjectsError
from scripts.warehouse.landing_tables import LANDING_TABLES
from tests import reference

T1, T2, T3 = (datetime.fromisoformat(f"2024-01-1{day}T02:00:00") for day in (1, 2, 3))
MICROSECOND_BEFORE_T2 = datetime.fromisoformat("2024-01-12T01:59:59.999999")


def render(sql: str, dialect: str = "duckdb", **variables: Any) -> str:
    """A statement with its macros replaced, in the dialect of an engine."""
    evaluator = MacroEvaluator(dialect="duckdb")
    evaluator.locals.update(variables)
    rendered = evaluator.transform(parse_one(sql, dialect="duckdb"))
    assert isinstance(rendered, exp.Expr)
    return rendered.sql(dialect=dialect)


def evaluate(expression: str, value: str | None) -> Any:
    """What an expression of macros makes of a value, which it calls `value`."""
    statement = render(f"SELECT {expression} FROM (SELECT CAST($1 AS TEXT) AS value)")
    [(result,)] = duckdb.execute(statement, [value]).fetchall()
    return result


# ----------------------------------------------------------------------------------------------------------------- text


def test_white_space_is_what_unicode_calls_so() -> None:
    """White_Space is Zs, Zl and Zp and the controls tab to carriage return and next line (Unicode, PropList.txt)."""
    separators = {
        char for char in map(chr, range(sys.maxunicode + 1)) if unicodedata.category(char) in ("Zs", "Zl", "Zp")
    }
    assert set(map(chr, text.WHITE_SPACE_CODE_POINTS)) == separators | set("\t\n\x0b\x0c\r\x85")
    assert len(text.WHITE_SPACE_CODE_POINTS) == 25


@pytest.mark.parametrize("code_point", text.WHITE_SPACE_CODE_POINTS, ids="U+{:04X}".format)
def test_each_white_space_is_trimmed_outside_and_collapsed_inside(code_point: int) -> None:
    space = chr(code_point)
    assert evaluate("@clean(value)", f"{space}a{space}{space}b{space}") == f"a{space}{space}b"
    assert evaluate("@collapse_white_space(value)", f"{space}a{space}{space}b{space}c{space}") == "a b c"
    assert evaluate("@clean(value)", space) == ""
    assert evaluate("@is_absent(value)", f"{space}N/A{space}") is True
    assert evaluate("@is_one_of(value, 'yes')", f"{space}Yes{space}") is True


@pytest.mark.parametrize("code_point", [0x1C, 0x1F, 0x180E, 0x200B, 0x2060, 0xFEFF], ids="U+{:04X}".format)
def test_look_alikes_of_white_space_are_kept(code_point: int) -> None:
    kept = f"{chr(code_point)}a{chr(code_point)}{chr(code_point)}b{chr(code_point)}"
    assert evaluate("@clean(value)", kept) == kept
    assert evaluate("@collapse_white_space(value)", kept) == kept


@pytest.mark.parametrize(
    "value",
    ["", " ", "a", "a b", "a  b", " a", "a ", "a\nb", "a\r\n\tb", "a\u00a0b", "é", " é  É\u2028", "a]b^c-d\\e", "İ ı"],
)
def test_text_is_cleaned_as_the_reference_cleans_it(value: str) -> None:
    assert evaluate("@clean(value)", value) == reference.trim(value)
    assert evaluate("@collapse_white_space(value)", value) == reference.WHITE_SPACE_RUN.sub(" ", reference.trim(value))
    assert evaluate("@is_absent(value)", value) == reference.is_absent(value)


@pytest.mark.parametrize("macro", ["@clean(value)", "@collapse_white_space(value)"])
def test_text_that_is_not_there_stays_so(macro: str) -> None:
    assert evaluate(macro, None) is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("savings", True),
        ("SaViNgS", True),
        (" savings\n", True),
        ("n/a", True),
        ("N/A", True),
        ("saving", False),
        ("savingss", False),
        ("savings n/a", False),
        ("savings\nn/a", False),
        ("n.a", False),
        ("", False),
    ],
)
def test_word_is_recognised_whole_and_in_any_case(value: str, expected: bool) -> None:
    assert evaluate("@is_one_of(value, 'savings', 'n/a')", value) is expected


@pytest.mark.parametrize(
    "value", ["chec\u212aing", "SAV\u0130NGS", "sav\u0131ngs", "\u017favings", "ＮＵＬＬ", "n\u2215a"]
)
def test_letter_beyond_ascii_is_never_taken_for_one_of_a_word(value: str) -> None:
    """The Kelvin sign, the Turkish i's, the long s and full-width letters have ASCII ones in another case."""
    assert evaluate("@is_one_of(value, 'savings', 'checking')", value) is False
    assert evaluate("@is_absent(value)", value) is False


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("1", True),
        (" 1\n", True),
        ("999999999999999999", True),
        ("1000000000000000000", False),
        ("0", False),
        ("01", False),
        ("+1", False),
        ("1\n2", False),
        ("1x", False),
        ("x1", False),
        ("\u0661", False),
        ("", False),
    ],
)
def test_customer_id_is_canonical_from_the_first_character_to_the_last(value: str, expected: bool) -> None:
    assert evaluate("@is_customer_id(value)", value) is expected


def test_what_cannot_be_seen_is_what_unicode_puts_in_such_a_category() -> None:
    """Python's table may be newer than the pinned one: then it has names for what is unassigned in that."""
    statement = render(
        "SELECT code FROM (SELECT range AS code, CHR(range::INT) AS value FROM RANGE(1, 1114112)) "
        "WHERE code NOT BETWEEN 55296 AND 57343 AND @holds_invisible('A' || value || '1')"
    )
    found = {code for (code,) in duckdb.execute(statement).fetchall()}
    expected = {code for code in range(1, sys.maxunicode + 1) if unicodedata.category(chr(code)) in reference.INVISIBLE}
    assert expected <= found
    assert found == expected or unicodedata.unidata_version != invisible.UNICODE_VERSION


@pytest.mark.parametrize(
    ("value", "expected"), [("a", True), ("\u3000b ", True), ("ab", False), ("xa", False), ("bx", False)]
)
def test_form_is_that_of_the_whole_text_with_all_its_alternatives(value: str, expected: bool) -> None:
    assert evaluate("@has_form(value, 'a|b')", value) is expected


@pytest.mark.parametrize("dialect", ["duckdb", "databricks"])
def test_reasons_are_joined_in_order_and_none_is_an_empty_text(dialect: str) -> None:
    """NULLs are skipped, though sqlglot's CONCAT_WS of either engine would not skip them on the other."""
    statement = render("SELECT @all_reasons(a, b, c) AS reasons", dialect)
    assert "CONCAT_WS" not in statement
    if dialect == "duckdb":
        for values, expected in {
            ("x", "y", "z"): "x, y, z",
            ("x", None, "z"): "x, z",
            (None, "y", None): "y",
            (None, None, "z"): "z",
            (None, None, None): "",
        }.items():
            given = "SELECT CAST($1 AS TEXT) AS a, CAST($2 AS TEXT) AS b, CAST($3 AS TEXT) AS c"
            assert duckdb.execute(f"{statement} FROM ({given})", list(values)).fetchall() == [(expected,)]


# -------------------------------------------------------------------------------------------------------------- history


@pytest.mark.parametrize(
    ("moment", "valid_to", "expected"),
    [
        (T1, T2, True),  # at its start
        (MICROSECOND_BEFORE_T2, T2, True),
        (T2, T2, False),  # at its end
        (T3, T2, False),
        (MICROSECOND_BEFORE_T2, None, True),
        (T3, None, True),
    ],
)
def test_version_holds_from_its_start_until_before_its_end(
    moment: datetime, valid_to: datetime | None, expected: bool
) -> None:
    given = "SELECT CAST($1 AS TIMESTAMP) AS valid_from_at, CAST($2 AS TIMESTAMP) AS valid_to_at"
    event = "SELECT CAST($3 AS TIMESTAMP) AS event_at"
    statement = render(f"SELECT @holds_at(version, event.event_at) FROM ({given}) AS version, ({event}) AS event")
    assert duckdb.execute(statement, [T1, valid_to, moment]).fetchall() == [(expected,)]


def test_version_does_not_hold_before_its_start() -> None:
    given = "SELECT CAST($1 AS TIMESTAMP) AS valid_from_at, CAST(NULL AS TIMESTAMP) AS valid_to_at"
    statement = render(
        f"SELECT @holds_at(v, e.event_at) FROM ({given}) AS v, (SELECT CAST($2 AS TIMESTAMP) AS event_at) AS e"
    )
    assert duckdb.execute(statement, [T2, MICROSECOND_BEFORE_T2]).fetchall() == [(False,)]


@pytest.mark.parametrize(
    ("valid_from", "valid_to", "expected"),
    [
        ("2024-01-12 02:00:00", None, True),  # began at the window's start
        ("2024-01-12 02:59:59.999999", None, True),  # began at its end
        ("2024-01-12 01:59:59.999999", None, False),
        ("2024-01-12 03:00:00", None, False),
        ("2024-01-01 00:00:00", "2024-01-12 02:00:00", True),  # ended in it
        ("2024-01-01 00:00:00", "2024-01-12 02:59:59.999999", True),
        ("2024-01-01 00:00:00", "2024-01-12 03:00:00", False),
        ("2024-01-01 00:00:00", "2024-01-02 00:00:00", False),
        ("2024-01-01 00:00:00", None, False),  # open all the while
    ],
)
def test_version_changed_in_the_window_in_which_it_began_or_ended(
    valid_from: str, valid_to: str | None, expected: bool
) -> None:
    window = {"start_ts": "2024-01-12 02:00:00", "end_ts": "2024-01-12 02:59:59.999999"}
    given = "SELECT CAST($1 AS TIMESTAMP) AS valid_from_at, CAST($2 AS TIMESTAMP) AS valid_to_at"
    statement = render(f"SELECT COUNT(*) FROM ({given}) AS version WHERE @version_changed_in_window()", **window)
    assert duckdb.execute(statement, [valid_from, valid_to]).fetchall() == [(int(expected),)]


# -------------------------------------------------------------------------------------------------------------- landing


def create_landing(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """The statements that come before a plan of prod on this connection."""
    evaluator = MacroEvaluator(dialect="duckdb")
    adapter = create_engine_adapter(lambda: connection, "duckdb")
    evaluator.locals.update(engine_adapter=adapter, this_env="prod")
    return [statement.sql(dialect="duckdb") for statement in landing.create_landing(evaluator)]


def test_landing_zone_is_made_once_and_its_rows_are_left_alone() -> None:
    connection = duckdb.connect()
    for statement in create_landing(connection):
        connection.execute(statement)
    connection.execute("INSERT INTO landing.customer (customer_key) VALUES ('1')")
    for statement in create_landing(connection):
        connection.execute(statement)
    assert connection.execute("SELECT customer_key FROM landing.customer").fetchall() == [("1",)]
    made = connection.execute(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = 'landing'"
    ).fetchall()
    assert {name for (name,) in made} == set(LANDING_TABLES)


def test_landing_zone_is_not_made_beside_tables_of_others() -> None:
    connection = duckdb.connect()
    connection.execute("CREATE SCHEMA marts; CREATE TABLE marts.total AS SELECT 42 AS answer")
    with pytest.raises(ForeignObjectsError, match=r"it writes to: marts\.total\. Nothing was written"):
        create_landing(connection)


def test_text_of_the_landing_zone_runs_in_a_project_without_the_modules_it_asks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """SQLMesh runs the text that it stored at the last plan, whichever version of the project is checked out."""
    monkeypatch.setitem(sys.modules, "scripts.warehouse.beside_sqlmesh", None)
    assert create_landing(duckdb.connect()) == []
