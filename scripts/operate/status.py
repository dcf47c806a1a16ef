"""What is loaded, pending and in quarantine, where things are, what is wrong and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass

import duckdb
from rich.console import Console
from rich.markup import escape

from scripts import wording
from scripts.errors import PipelineError, first_line
from scripts.feeds import FEEDS, Feed
from scripts.outputs.export import check_outputs, outdated
from scripts.reconcile.landed_rows import ledger_differences, ledger_remedy, missing_loads
from scripts.report.figures import held_back, marts_of_prod, model_versions, not_seen, quarantine_now
from scripts.report.quality_report import latest_report, latest_report_path
from scripts.settings import Settings
from scripts.warehouse import Warehouse
from scripts.warehouse.open import open_warehouse
from scripts.warehouse.ownership import refuse_foreign_objects


@dataclass(frozen=True)
class Finding:
    """One line of the status; `remedy` is empty where all is well."""

    name: str
    detail: str
    remedy: str = ""


def print_status(settings: Settings, console: Console) -> bool:
    """Prints the findings; returns whether none asks for something to be done."""
    findings = list(_findings(settings))
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        mark = "[yellow]![/yellow]" if finding.remedy else "[green]✓[/green]"
        console.print(f"{mark}  [bold]{finding.name:<{width}}[/bold]  {escape(finding.detail)}", soft_wrap=True)
        if finding.remedy:
            console.print(f"   {'':<{width}}  [yellow]→ {escape(finding.remedy)}[/yellow]", soft_wrap=True)
    return not any(finding.remedy for finding in findings)


def _findings(settings: Settings) -> Iterable[Finding]:
    yield from _inputs(settings)
    yield from _last_run(settings)
    try:
        warehouse = open_warehouse(settings)
    except PipelineError as error:
        yield Finding("database", "not to be had", str(error))
        return
    with closing(warehouse):
        others = refuse_foreign_objects(warehouse, settings)
        names = ", ".join(f"{stored.schema}.{stored.name}" for stored in others)
        place = f"{settings.duckdb_path}" if settings.gateway == "duckdb" else settings.gateway
        yield Finding("database", place + (f"; not this project's and left alone: {names}" if others else ""))
        try:
            yield from _landing(warehouse)
            yield from _models(warehouse)
            yield _exports(warehouse, settings)
        except duckdb.CatalogException as error:
            yield Finding(
                "models", f"not all there: {first_line(error)}", "Run `python -m scripts.pipeline transform`."
            )


def _inputs(settings: Settings) -> Iterable[Finding]:
    missing = [feed.file_name for feed in FEEDS if not (settings.input_path / feed.file_name).is_file()]
    if missing:
        remedy = f"Put {' and '.join(missing)} there, or set INPUT_PATH."
        yield Finding("inputs", f"{settings.input_path}: {', '.join(missing)} missing", remedy)
    else:
        yield Finding("inputs", f"{settings.input_path}")


def _last_run(settings: Settings) -> Iterable[Finding]:
    """What the newest report says, of a run that failed, too: no database needs to be had for it."""
    path = latest_report_path(settings.quality_reports_path)
    if path is None:
        yield Finding("report", f"none in {settings.quality_reports_path}", "It is written by a run.")
        return
    try:
        report = latest_report(settings.quality_reports_path)
    except PipelineError as error:
        yield Finding("report", f"{path} can't be read", str(error))
        return
    ended = f"{wording.moment(report['finished_at'])}: {wording.headline(report)}"
    if report["status"] == "failed":
        remedy = "See it with `python -m scripts.pipeline report --latest`."
        yield Finding("last run", f"{ended}. {wording.first_sentence(report['error'])}", remedy)
    else:
        yield Finding("last run", ended)
    lacks = report["problems"] and report["status"] != "failed"
    yield Finding("report", f"{path}: {report['verdict']}", "Parts of it are missing: run again." if lacks else "")


def _landing(warehouse: Warehouse) -> Iterable[Finding]:
    loads, newest = warehouse.fetch("SELECT COUNT(DISTINCT loaded_at), MAX(loaded_at) FROM landing.load")[0]
    if not loads:
        yield Finding("loads", "nothing is loaded yet", "Run `make run`.")
        return
    yield Finding("loads", f"{loads:,} taken, the newest dated {newest} UTC")
    ran = warehouse.fetch("SELECT finished_at, execution_time FROM landing.run ORDER BY finished_at DESC LIMIT 1")
    if ran:
        yield Finding("last success", f"ended at {ran[0][0]:%Y-%m-%d %H:%M:%S} UTC, up to {ran[0][1]} UTC")
    if differences := ledger_differences(warehouse):
        yield Finding("ledger", "; ".join(map(str, differences)), ledger_remedy(differences))
        return
    pending = sorted({loaded_at for feed in FEEDS for loaded_at, *_ in missing_loads(warehouse, feed)})
    if pending:
        yield Finding(
            "pending",
            f"{wording.count(len(pending), 'load', 'loads')} not in the models: {', '.join(map(str, pending[:3]))}",
            "Run `python -m scripts.pipeline transform`; if they stay pending, add --full-refresh.",
        )
    else:
        yield Finding("pending", "nothing: every landed row is in staging or quarantine")


def _models(warehouse: Warehouse) -> Iterable[Finding]:
    for feed in FEEDS:
        yield _quarantine(warehouse, feed)
    held = held_back(warehouse)
    accounts = wording.count(held["count"], "valid account", "valid accounts")
    yield Finding("held back", f"{accounts} without a customer: unknown or gone")
    for mart in marts_of_prod(warehouse):
        yield _mart(warehouse, mart)
    # Last: a database of before this table has it from its next run on.
    for feed in FEEDS:
        yield _not_seen(warehouse, feed)


def _mart(warehouse: Warehouse, mart: str) -> Finding:
    dated = "calculated_at" in warehouse.relation(f"SELECT * FROM {mart} LIMIT 0").columns
    newest = "MAX(calculated_at)" if dated else "NULL"
    ((rows, since),) = warehouse.fetch(f"SELECT COUNT(*), {newest} FROM {mart}")
    text = wording.count(rows, "row", "rows")
    return Finding(mart, f"{text}, the newest calculated at {since} UTC" if since else text)


def _quarantine(warehouse: Warehouse, feed: Feed) -> Finding:
    now = quarantine_now(warehouse, feed)
    reasons = ", ".join(f"{wording.words(reason['reason'])} {reason['keys']:,}" for reason in now["reasons"])
    keys = wording.count(now["keys"], wording.words(feed.name))
    return Finding(f"quarantine {feed.name}", keys + (f": {reasons}" if reasons else ""))


def _not_seen(warehouse: Warehouse, feed: Feed) -> Finding:
    unseen = not_seen(warehouse, feed)
    keys = wording.count(unseen["count"], wording.words(feed.name))
    samples = wording.key_list(unseen["sample_keys"], unseen["count"])
    return Finding(f"not seen {feed.name}", f"{keys} {wording.NOT_SEEN}" + (f": {samples}" if samples else ""))


def _exports(warehouse: Warehouse, settings: Settings) -> Finding:
    wrong = check_outputs(settings.output_path)
    wrong = wrong or outdated(warehouse, settings.output_path, model_versions(warehouse))
    remedy = f"{' '.join(wrong)} Run `python -m scripts.pipeline export`." if wrong else ""
    return Finding("exports", f"{settings.output_path}", remedy)
