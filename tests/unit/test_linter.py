"""The project's linter rules: each flags what it is there for, naming the place and the remedy, and nothing else."""

from __future__ import annotations

import importlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlmesh.core.config import Config
from sqlmesh.core.config.loader import load_config_from_paths
from sqlmesh.core.context import Context
from sqlmesh.core.dialect import parse
from sqlmesh.core.linter.rule import Rule, RuleViolation
from sqlmesh.core.model import Model, create_external_model, create_seed_model, load_sql_based_model
from sqlmesh.core.model.kind import SeedKind
from sqlmesh.utils.errors import LinterError

from linter.columns import DeclaredTypes, SnakeCase, SuffixMatchesType
from linter.descriptions import ColumnsDescribed, GrainStated, OwnedAndTagged
from linter.layers import LayerInName, ReadsLayerBefore
from linter.seeds import SeedFitsItsTypes

ROOT = Path(__file__).resolve().parents[2]
RULES: tuple[type[Rule], ...] = (
    ColumnsDescribed,
    DeclaredTypes,
    GrainStated,
    LayerInName,
    OwnedAndTagged,
    ReadsLayerBefore,
    SeedFitsItsTypes,
    SnakeCase,
    SuffixMatchesType,
)


def model(
    name: str = "staging.stg_account",
    select: str = "account_key::TEXT AS account_id /* Account id */",
    source: str = "source.src_account",
    *,
    description: str = "Valid accounts. One row per account and load.",
    header: str = "owner data_platform, tags (staging)",
    query: str | None = None,
) -> Model:
    """A model that no rule has anything against, but for what is given."""
    comment = f"/* {description} */ " if description else ""
    properties = ", ".join(part for part in (f"name {name}", "kind FULL", header) if part)
    text = f"{comment}MODEL ({properties}); {query or f'SELECT {select} FROM {source}'}"
    return load_sql_based_model(parse(text, default_dialect="duckdb"), dialect="duckdb")


def violations(rule: type[Rule], checked: Model) -> list[str]:
    """What a rule says of a model."""
    context: Any = None  # none of the rules looks beyond the model
    found = rule(context).check_model(checked)
    if isinstance(found, RuleViolation):
        found = [found]
    return [violation.violation_msg for violation in found or []]


def test_model_that_keeps_all_rules_is_not_flagged() -> None:
    assert {rule.name: violations(rule, model()) for rule in RULES} == {rule.name: [] for rule in RULES}


# -------------------------------------------------------------------------------------------------------- layer in name


@pytest.mark.parametrize(
    "name",
    [
        "source.src_account",
        "staging.stg_account",
        "staging.quarantine_account",
        "staging.judged_account",
        "snapshots.snap_account",
        "intermediate.int_account",
        "marts.account_summary",
        "reference.interest_rate_tier",
    ],
)
def test_name_that_says_its_layer_is_not_flagged(name: str) -> None:
    assert violations(LayerInName, model(name)) == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "source.account",
            "Model source.account: models of 'source' are called src_*. Rename it, or move it to another layer.",
        ),
        (
            "staging.snap_account",
            "Model staging.snap_account: models of 'staging' are called stg_* or quarantine_* or judged_*. "
            "Rename it, or move it to another layer.",
        ),
        (
            "intermediate.account_int_",
            "Model intermediate.account_int_: models of 'intermediate' are called int_*. "
            "Rename it, or move it to another layer.",
        ),
        (
            "marts.int_account",
            "Model marts.int_account: models of 'marts' are called by a noun. "
            "Drop the prefix, or move it to the layer of that prefix.",
        ),
        (
            "mart.account_summary",
            "Model mart.account_summary: 'mart' is no layer. "
            "Move the model to one of source, staging, snapshots, intermediate, marts, reference.",
        ),
    ],
)
def test_name_that_does_not_say_its_layer_is_flagged(name: str, expected: str) -> None:
    assert violations(LayerInName, model(name)) == [expected]


# --------------------------------------------------------------------------------------------------- reads layer before


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("source.src_account", "landing.account"),
        ("staging.stg_account", "staging.judged_account"),
        ("snapshots.snap_account", "staging.judged_account"),
        ("intermediate.int_account", "snapshots.snap_account"),
        ("intermediate.int_savings", "intermediate.int_account"),
        ("marts.account_summary", "intermediate.int_account"),
        ("marts.account_summary", "reference.interest_rate_tier"),
        ("marts.customer_profile", "marts.account_summary"),
    ],
)
def test_layer_before_may_be_read(name: str, source: str) -> None:
    assert violations(ReadsLayerBefore, model(name, source=source)) == []


@pytest.mark.parametrize(
    ("name", "source", "readable"),
    [
        ("staging.stg_account", "landing.account", "source.* or staging.judged_*"),
        ("staging.stg_account", "staging.quarantine_account", "source.* or staging.judged_*"),
        ("snapshots.snap_account", "staging.stg_account", "staging.judged_*"),
        ("intermediate.int_account", "staging.stg_account", "snapshots.* or intermediate.*"),
        ("intermediate.int_account", "reference.interest_rate_tier", "snapshots.* or intermediate.*"),
        ("marts.account_summary", "snapshots.snap_account", "intermediate.* or marts.* or reference.*"),
        ("reference.interest_rate_tier", "marts.account_summary", "landing.*"),
    ],
)
def test_layer_that_is_skipped_or_read_backwards_is_flagged(name: str, source: str, readable: str) -> None:
    layer = name.split(".")[0]
    assert violations(ReadsLayerBefore, model(name, source=source)) == [
        f"Model {name} reads {source}, but models of '{layer}' read {readable}. "
        "Read the table through that layer, or move the model."
    ]


def test_table_read_deep_inside_a_query_is_flagged() -> None:
    query = """
        WITH account AS (SELECT account_id FROM intermediate.int_account)
        SELECT account_id::TEXT /* Account id */ FROM account
        WHERE account_id IN (
            SELECT account_id FROM staging.stg_account UNION ALL SELECT account_key FROM landing.account
        )
    """
    flagged = violations(ReadsLayerBefore, model("marts.account_summary", query=query))
    assert [message.split(",")[0] for message in flagged] == [
        "Model marts.account_summary reads landing.account",
        "Model marts.account_summary reads staging.stg_account",
    ]


def test_dependency_that_only_an_audit_reads_is_free() -> None:
    header = "owner data_platform, tags (marts), depends_on (snapshots.snap_account)"
    assert violations(ReadsLayerBefore, model("marts.account_summary", source="marts.a", header=header)) == []


# ----------------------------------------------------------------------------------------------------------- snake case


@pytest.mark.parametrize(
    ("name", "column", "expected"),
    [
        (
            "staging.stg_Account",
            "account_id",
            "Model staging.stg_Account: 'stg_Account' is not snake_case. Rename the model.",
        ),
        (
            "staging.stg__account",
            "account_id",
            "Model staging.stg__account: 'stg__account' is not snake_case. Rename the model.",
        ),
        (
            "staging.stg_account",
            "accountId",
            "Model staging.stg_account: column 'accountId' is not snake_case. Rename the column.",
        ),
        (
            "staging.stg_account",
            '"account id"',
            "Model staging.stg_account: column 'account id' is not snake_case. Rename the column.",
        ),
        (
            "staging.stg_account",
            "_account",
            "Model staging.stg_account: column '_account' is not snake_case. Rename the column.",
        ),
    ],
)
def test_name_that_is_not_snake_case_is_flagged(name: str, column: str, expected: str) -> None:
    assert violations(SnakeCase, model(name, select=f"account_key::TEXT AS {column}")) == [expected]


def test_capital_letter_in_a_column_taken_over_as_it_is_is_flagged_in_every_branch_of_a_union() -> None:
    query = """
        SELECT a.CustomerID::BIGINT FROM source.src_a AS a
        UNION ALL
        (SELECT b.customerId::BIGINT FROM source.src_b AS b)
    """
    assert violations(SnakeCase, model(query=query)) == [
        "Model staging.stg_account: column 'CustomerID' is not snake_case. Rename the column.",
        "Model staging.stg_account: column 'customerId' is not snake_case. Rename the column.",
    ]


# -------------------------------------------------------------------------------------------------- suffix matches type


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        ("has_loan_flag", "BOOLEAN"),
        ("loaded_at", "TIMESTAMP"),
        ("opened_date", "DATE"),
        ("balance_amount", "DECIMAL(18, 2)"),
        ("interest_rate_pct", "DECIMAL(6, 4)"),
        ("rows_count", "BIGINT"),
        ("account_id", "TEXT"),
        ("customer_id", "BIGINT"),
    ],
)
def test_column_whose_suffix_and_type_agree_is_not_flagged(column: str, kind: str) -> None:
    assert violations(SuffixMatchesType, model(select=f"x::{kind} AS {column}")) == []


@pytest.mark.parametrize(
    ("column", "kind", "expected"),
    [
        ("has_loan", "BOOLEAN", "is a BOOLEAN, so its name ends in _flag. Rename it, or cast it."),
        ("loaded", "TIMESTAMP", "is a TIMESTAMP, so its name ends in _at. Rename it, or cast it."),
        ("opened_at", "DATE", "is a DATE, so its name ends in _date. Rename it, or cast it."),
        (
            "balance",
            "DECIMAL(18, 2)",
            "is a DECIMAL(18, 2), so its name ends in _amount or _pct. Rename it, or cast it.",
        ),
        ("has_loan_flag", "TEXT", "ends in _flag, so it is a BOOLEAN, not a TEXT. Cast it, or rename it."),
        ("loaded_at", "TEXT", "ends in _at, so it is a TIMESTAMP, not a TEXT. Cast it, or rename it."),
        ("loaded_at", "TIMESTAMPTZ", "ends in _at, so it is a TIMESTAMP, not a TIMESTAMPTZ. Cast it, or rename it."),
        ("opened_date", "TEXT", "ends in _date, so it is a DATE, not a TEXT. Cast it, or rename it."),
        ("balance_amount", "BIGINT", "ends in _amount, so it is a DECIMAL, not a BIGINT. Cast it, or rename it."),
        ("rate_pct", "TEXT", "ends in _pct, so it is a DECIMAL, not a TEXT. Cast it, or rename it."),
        ("rows_count", "INT", "ends in _count, so it is a BIGINT, not a INT. Cast it, or rename it."),
        ("balance_amount", "DOUBLE", "is a DOUBLE, which is inexact. Cast it to DECIMAL."),
        ("ratio", "REAL", "is a REAL, which is inexact. Cast it to DECIMAL."),
    ],
)
def test_column_whose_suffix_and_type_differ_is_flagged(column: str, kind: str, expected: str) -> None:
    flagged = violations(SuffixMatchesType, model(select=f"x::{kind} AS {column}"))
    assert flagged == [f"Model staging.stg_account: column '{column}' {expected}"]


def test_suffix_rules_reach_external_tables_too() -> None:
    landing = create_external_model(
        "landing.load", columns={"loaded_at": "TIMESTAMP", "row_count": "INT"}, dialect="duckdb"
    )
    assert violations(SuffixMatchesType, landing) == [
        "Model landing.load: column 'row_count' ends in _count, so it is a BIGINT, not a INT. Cast it, or rename it."
    ]


# ------------------------------------------------------------------------------------------------------- declared types


def test_projection_without_a_cast_is_flagged() -> None:
    flagged = violations(
        DeclaredTypes, model(select="account_key, COUNT(*) AS rows_count, UPPER(a), x::TEXT, (y)::TEXT AS z")
    )
    assert flagged == [
        "Model staging.stg_account: column 'account_key' has no declared type. Cast it in the outer SELECT.",
        "Model staging.stg_account: column 'rows_count' has no declared type. Cast it in the outer SELECT.",
        "Model staging.stg_account: column 'UPPER(a)' has no declared type. Cast it in the outer SELECT.",
    ]


def test_only_outer_projections_need_a_cast_but_in_every_branch_of_a_union() -> None:
    query = """
        WITH received AS (SELECT account_key AS account_id FROM source.src_account)
        SELECT account_id::TEXT FROM received
        UNION ALL
        SELECT account_id FROM received
    """
    assert violations(DeclaredTypes, model(query=query)) == [
        "Model staging.stg_account: column 'account_id' has no declared type. Cast it in the outer SELECT."
    ]


# --------------------------------------------------------------------------------------------------------- descriptions


@pytest.mark.parametrize("description", ["", "Valid accounts.", "Valid accounts. One row per account", "One row per ."])
def test_description_without_a_grain_statement_is_flagged(description: str) -> None:
    assert violations(GrainStated, model(description=description)) == [
        "Model staging.stg_account: its description does not state the grain. "
        "Add a sentence 'One row per ... .' to the comment above MODEL."
    ]


def test_grain_statement_may_stand_anywhere_in_the_description() -> None:
    description = "Accounts. One row per row of source.src_account, whatever it holds. Answers: which do we trust?"
    assert violations(GrainStated, model(description=description)) == []


def test_exported_mart_without_a_grain_in_its_header_is_flagged() -> None:
    """Its files could not be sorted."""
    header = "owner data_platform, tags (marts, export)"
    assert violations(GrainStated, model("marts.account_summary", header=header)) == [
        "Model marts.account_summary is tagged `export` and has no `grain` in its header: the rows of its files would "
        "be in no order. Name the columns there that are unique together."
    ]
    assert violations(GrainStated, model("marts.account_summary", header=f"{header}, grain (account_id)")) == []


def test_model_without_owner_or_tags_is_flagged() -> None:
    assert violations(OwnedAndTagged, model(header="")) == [
        "Model staging.stg_account has no owner. Set `owner` in its header.",
        "Model staging.stg_account has no tags. Set `tags (layer, subject)` in its header.",
    ]


def test_column_without_a_description_is_flagged() -> None:
    select = "a::TEXT AS account_id, /* Account id */ b::TEXT AS account_type, c::BIGINT AS customer_id /* Owner */"
    assert violations(ColumnsDescribed, model(select=select)) == [
        "Model staging.stg_account: column 'account_type' has no description. Add a comment after its projection."
    ]


def test_columns_that_the_materialization_adds_need_no_description() -> None:
    text = """
        MODEL (name snapshots.snap_account, kind SCD_TYPE_2_BY_COLUMN (unique_key account_id, columns *));
        SELECT account_id::TEXT /* Account id */ FROM staging.stg_account
    """
    history = load_sql_based_model(parse(text, default_dialect="duckdb"), dialect="duckdb")
    assert {"valid_from", "valid_to"} <= set(history.columns_to_types or {})
    assert violations(ColumnsDescribed, history) == []


def test_seed_is_held_to_the_same_rules(tmp_path: Path) -> None:
    (tmp_path / "rate.csv").write_text("balanceFrom\n1\n")
    seed = create_seed_model(
        "reference.rate",
        SeedKind(path=str(tmp_path / "rate.csv")),
        columns={"balanceFrom": "DECIMAL(18, 2)"},
        dialect="duckdb",
        module_path=tmp_path,
    )
    flagged = [message for rule in RULES for message in violations(rule, seed)]
    assert flagged == [
        "Model reference.rate: column 'balancefrom' has no description. Add a comment after its projection.",
        "Model reference.rate: its description does not state the grain. Add a sentence 'One row per ... .' to the "
        "comment above MODEL.",
        "Model reference.rate has no owner. Set `owner` in its header.",
        "Model reference.rate has no tags. Set `tags (layer, subject)` in its header.",
        "Model reference.rate: column 'balancefrom' is a DECIMAL(18, 2), so its name ends in _amount or _pct. "
        "Rename it, or cast it.",
    ]


# ---------------------------------------------------------------------------------------------------------------- seeds


@pytest.mark.parametrize(
    ("amount", "rate", "flagged"),
    [
        ("0.00", "0.0125", []),
        ("-9999.99", " 0.01250000 ", []),
        ("10", "", []),
        ("0.00", "0.01255", ["0.01255 in line 3 of its file has more digits than interest_rate_pct"]),
        ("10000", "1e-5", ["10000 in line 3 of its file has more", "1e-5 in line 3 of its file has more digits"]),
    ],
)
def test_number_of_a_seed_that_would_be_rounded_is_flagged(
    amount: str, rate: str, flagged: list[str], tmp_path: Path
) -> None:
    (tmp_path / "rate.csv").write_text(f"balance_from_amount,interest_rate_pct,note\n1,0.0100,a\n{amount},{rate},b\n")
    seed = create_seed_model(
        "reference.rate",
        SeedKind(path=str(tmp_path / "rate.csv")),
        columns={"balance_from_amount": "DECIMAL(6, 2)", "interest_rate_pct": "DECIMAL(6, 4)", "note": "TEXT"},
        dialect="duckdb",
    )
    found = violations(SeedFitsItsTypes, seed)
    assert len(found) == len(flagged)
    assert all(said in message for said, message in zip(flagged, found, strict=True))


# --------------------------------------------------------------------------------------------------------- in a project


def test_every_rule_is_an_error_in_this_project_and_says_why_and_how() -> None:
    modules = [importlib.import_module(f"linter.{path.stem}") for path in (ROOT / "linter").glob("[!_]*.py")]
    defined = {
        candidate.name: candidate
        for module in modules
        for candidate in vars(module).values()
        if isinstance(candidate, type) and issubclass(candidate, Rule) and candidate.__module__ == module.__name__
    }
    assert set(defined) == {rule.name for rule in RULES}, "a rule in linter/ has no test here"
    linter = load_config_from_paths(Config, [ROOT / "config.py"]).linter
    assert linter.enabled
    assert set(defined) | {"nomissingunittest"} <= linter.rules
    for rule in defined.values():
        documentation = rule.__doc__ or ""
        assert "Reason to flag: " in documentation, rule.name
        assert "How to remedy: " in documentation, rule.name


@pytest.fixture
def own_imports(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keeps what a project in another folder imports, and from where, out of the other tests."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "linter"}
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "linter"]:
        del sys.modules[name]
    sys.modules.update(before)


@pytest.mark.usefixtures("own_imports")
def test_model_that_breaks_a_rule_stops_a_plan(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "linter", tmp_path / "linter", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "stg_account.sql").write_text(
        "MODEL (name staging.stg_account, kind FULL); SELECT 1::BOOLEAN AS has_loan"
    )
    rules = ", ".join(rule.name for rule in RULES)
    (tmp_path / "config.yaml").write_text(
        "gateways: {local: {connection: {type: duckdb}}}\n"
        "model_defaults: {dialect: duckdb}\n"
        "disable_anonymized_analytics: true\n"
        f"linter: {{enabled: true, rules: [{rules}]}}\n"
    )
    context = Context(paths=str(tmp_path))
    assert {found.rule.name for found in context.lint_models(raise_on_error=False)} == {
        "columnsdescribed",
        "grainstated",
        "ownedandtagged",
        "suffixmatchestype",
    }
    with pytest.raises(LinterError):
        context.plan(auto_apply=True, no_prompts=True)
    context.close()
