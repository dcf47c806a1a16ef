"""What a person reads of an engine's error: what went wrong, and no stack trace."""

from __future__ import annotations

import logging

import duckdb
import pytest

from scripts.errors import PipelineError, first_line, for_files, reason
from scripts.project.logs import keep_rows_out_of_logs

MANUAL_ENABLEMENT = """An error occurred while calling o161.sql.
: org.apache.spark.sql.delta.DeltaTableFeatureException: [DELTA_FEATURES_REQUIRE_MANUAL_ENABLEMENT] Your table schema \
requires manually enablement of the following table feature(s): timestampNtz.

To do this, run the following command for each of features listed above:
  ALTER TABLE table_name SET TBLPROPERTIES ('delta.feature.feature_name' = 'supported')
\tat org.apache.spark.sql.delta.DeltaErrorsBase.tableFeaturesRequireManualEnablementException(DeltaErrors.scala:2411)
\tat java.base/java.lang.Thread.run(Thread.java:840)"""
NOT_FOUND = """[TABLE_OR_VIEW_NOT_FOUND] The table or view `p`.`nope` cannot be found. Verify the spelling.
To tolerate the error on drop use DROP VIEW IF EXISTS or DROP TABLE IF EXISTS. SQLSTATE: 42P01; line 1 pos 14;
'Project [*]
+- 'UnresolvedRelation [p, nope], [], false
"""
IN_A_STATEMENT_OF_SQLMESH = f"""An error occurred during execution of the following 'before_all' statement:

CREATE TABLE IF NOT EXISTS landing.customer (a INT)

{MANUAL_ENABLEMENT}"""

SAID = {
    MANUAL_ENABLEMENT: (
        "[DELTA_FEATURES_REQUIRE_MANUAL_ENABLEMENT] Your table schema requires manually enablement of the following "
        "table feature(s): timestampNtz."
    ),
    NOT_FOUND: "[TABLE_OR_VIEW_NOT_FOUND] The table or view `p`.`nope` cannot be found.",
    (
        "Error running query: [NO_SUCH_CATALOG] org.apache.spark.sql.AnalysisException: [NO_SUCH_CATALOG] Catalog 'x' "
        "was not found. Please verify it."
    ): "[NO_SUCH_CATALOG] Catalog 'x' was not found.",
    (
        "\n[PARSE_SYNTAX_ERROR] Syntax error at or near 'SELEC' SQLSTATE: 42601 (line 1)\n\n== SQL ==\nSELEC\n^^^\n"
    ): "[PARSE_SYNTAX_ERROR] Syntax error at or near 'SELEC'",
    (
        "[EXPECT_TABLE_NOT_VIEW.NO_ALTERNATIVE] 'DESCRIBE DETAIL' expects a table but `a`.`v1.2` is a view. "
        "SQLSTATE: 42809; line 1 pos 0"
    ): "[EXPECT_TABLE_NOT_VIEW.NO_ALTERNATIVE] 'DESCRIBE DETAIL' expects a table but `a`.`v1.2` is a view.",
    (
        "An error occurred while calling o1.sql.\n: java.lang.NullPointerException: it is null\n\tat a.B.c(B.java:1)"
    ): "java.lang.NullPointerException: it is null",
    (
        "Error during request to server: 403: Invalid access token."
    ): "Error during request to server: 403: Invalid access token.",
}


@pytest.mark.parametrize(("message", "said"), SAID.items(), ids=range(len(SAID)))
def test_error_class_and_first_sentence_are_kept(message: str, said: str) -> None:
    assert reason(Exception(message)) == first_line(Exception(message)) == said


def test_they_are_kept_where_sqlmesh_quotes_them() -> None:
    assert reason(Exception(IN_A_STATEMENT_OF_SQLMESH)) == SAID[MANUAL_ENABLEMENT]


def test_what_duckdb_adds_to_its_first_line_is_kept_where_there_is_room() -> None:
    error = Exception('Binder Error: Referenced column "b" not found!\nCandidate bindings: "a"\n\nLINE 1: SELECT b')
    assert reason(error) == str(error)
    assert first_line(error) == 'Binder Error: Referenced column "b" not found!'


def test_an_error_without_words_is_named() -> None:
    assert first_line(TimeoutError()) == "TimeoutError"


CAST = """[CAST_INVALID_INPUT] The value 'Jane' of the type "STRING" cannot be cast to "BIGINT" because it is \
malformed. SQLSTATE: 22018"""
LEFT_OUT = "[left out: it may quote rows]"


def failure(sql: str) -> duckdb.Error:
    with pytest.raises(duckdb.Error) as failed, duckdb.connect() as connection:
        connection.execute(sql)
    return failed.value


def caused(message: str, cause: Exception) -> PipelineError:
    with pytest.raises(PipelineError) as failed:
        raise PipelineError(message) from cause
    return failed.value


def test_a_file_gets_of_an_engine_s_error_about_rows_its_kind_only() -> None:
    assert for_files(failure("SELECT CAST('Jane' AS INT)")) == f"ConversionException {LEFT_OUT}"
    assert for_files(failure("SELECT error('Jane')")) == f"InvalidInputException {LEFT_OUT}"
    assert for_files(Exception(CAST)) == f"[CAST_INVALID_INPUT] {LEFT_OUT}"
    assert for_files(ValueError("Jane")) == f"ValueError {LEFT_OUT}"


@pytest.mark.parametrize(
    "error",
    [
        failure("SELECT nothing FROM no_table"),
        failure("SELEC"),
        Exception(NOT_FOUND),
        FileNotFoundError(2, "No such file", "data/inputs"),
        KeyboardInterrupt(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_it_keeps_what_knows_no_rows(error: BaseException) -> None:
    assert for_files(error) == reason(error)


def test_a_message_loses_what_it_repeats_of_its_cause_and_what_it_quotes() -> None:
    cause = failure("SELECT CAST('Jane' AS INT)")
    for said in (str(cause), first_line(cause)):
        error = caused(f"The export failed: {said}. Run again.", cause)
        assert for_files(error) == f"The export failed: ConversionException {LEFT_OUT}. Run again."
    outer = caused("Stopped: " + str(error), error)
    assert for_files(outer) == f"Stopped: The export failed: ConversionException {LEFT_OUT}. Run again."
    quoting = PipelineError("Line 3 is 'Jane,1'.", "Mend it.", quotes=["'Jane,1'"])
    assert str(quoting) == "Line 3 is 'Jane,1'. Mend it."
    assert for_files(quoting) == f"Line 3 is {LEFT_OUT}. Mend it."


def test_a_log_names_errors_as_files_may(caplog: pytest.LogCaptureFixture) -> None:
    keep_rows_out_of_logs()
    log = logging.getLogger("test")
    try:
        duckdb.execute("SELECT CAST('Jane' AS INT)")
    except duckdb.Error as error:
        log.exception(error)
        log.error("It failed: %s", error)
        log.error(f"It failed: {error}", exc_info=error)
    text = caplog.text
    assert "Jane" not in text.replace("CAST('Jane' AS INT)", "")  # the line of this file, which tracebacks show
    assert text.count(f"ConversionException {LEFT_OUT}") == 5
    assert "test_errors.py" in text
    assert "Traceback" not in text
