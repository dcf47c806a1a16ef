"""What a person reads of an engine's error: what went wrong, and no stack trace."""

from __future__ import annotations

import pytest

from scripts.errors import first_line, reason

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
