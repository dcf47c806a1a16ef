"""What is loaded, pending and in quarantine, where things are, what is wrong and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import duckdb
from rich.console import Console
from rich.markup import escape

from scripts import wording
from scripts.errors import PipelineError, first_line
from scripts.feeds import FEEDS, Feed
from scripts.outputs.export import check_outputs, outdated
from scripts.reconcile.landed_rows import ledger_differences, missing_loads
from scripts.report.figures import held_back, marts_of_prod, model_versions, not_seen, quarantine_now
from scripts.report.quality_report import latest_report, latest_report_path
from scripts.settings import Settings
from scripts.warehouse import Warehouse
from scripts.warehouse.open import open_warehouse
from scripts.warehouse.ownership import refuse_foreign_objects


class Finding(NamedTuple):
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
    yield _inputs(settings.input_path)
    yield from _last_run(settings.quality_reports_path)
    try:
        warehouse = open_warehouse(settings)
    except PipelineError as error:
        yield Finding("database", "not to be had", str(error))
        return
    with closing(warehouse):
        names = ", ".join(map(str, refuse_foreign_objects(warehouse, settings)))
        place = f"{settings.duckdb_path}" if settings.gateway == "duckdb" else settings.gateway
        yield Finding("database", place + (f"; not this project's and left alone: {names}" if names else ""))
        try:
            yield from _landing(warehouse)
            yield from _models(warehouse)
            yield _exports(warehouse, settings.output_path)
        except duckdb.CatalogException as error:
            said = f"not all there: {first_line(error)}"
            yield Finding("models", said, "Run `python -m scripts.pipeline transform`.")


def _inputs(folder: Path) -> Finding:
    missing = [feed.file_name for feed in FEEDS if not (folder / feed.file_name).is_file()]
    if not missing:
        return Finding("inputs", f"{folder}")
    remedy = f"Put {' and '.join(missing)} there, or set INPUT_PATH."
    return Finding("inputs", f"{folder}: {', '.join(missing)} missing", remedy)


def _last_run(folder: Path) -> Iterable[Finding]:
    """What the newest report says, of a run that failed, too: no database needs to be had for it."""
    path = latest_report_path(folder)
    if path is None:
        yield Finding("report", f"none in {folder}", "It is written by a run.")
        return
    try:
        report = latest_report(folder)
    except PipelineError as error:
        yield Finding("report", f"{path} can't be read", str(error))
        return
    ended = f"{wording.moment(report['finished_at'])}: {wording.headline(report)}"
    told = f"{path}: {report['verdict']}"
    if report["status"] == "failed":
        remedy = "See it with `python -m scripts.pipeline report --latest`."
        yield Finding("last run", f"{ended}. {wording.first_sentence(report['error'])}", remedy)
        yield Finding("report", told)
    else:
        yield Finding("last run", ended)
        yield Finding("report", told, "Parts of it are missing: run again." if report["problems"] else "")


def _landing(warehouse: Warehouse) -> Iterable[Finding]:
    loads, newest = warehouse.fetch("SELECT COUNT(DISTINCT loaded_at), MAX(loaded_at) FROM landing.load")[0]
    if not loads:
        yield Finding("loads", "nothing is loaded yet", "Run `make run`.")
        return
    yield Finding("loads", f"{loads:,} taken, the newest dated {newest} UTC")
    newest_run = "SELECT finished_at, execution_time FROM landing.run ORDER BY finished_at DESC LIMIT 1"
    for ended, until in warehouse.fetch(newest_run):
        yield Finding("last success", f"ended at {ended:%Y-%m-%d %H:%M:%S} UTC, up to {until} UTC")
    differences, remedy = ledger_differences(warehouse)
    if differences:
        yield Finding("ledger", "; ".join(differences), remedy)
        return
    if pending := sorted({loaded_at for _, loaded_at, *_ in missing_loads(warehouse)}):
        waiting = f"{wording.count(len(pending), 'load', 'loads')} not in the models"
        remedy = "Run `python -m scripts.pipeline transform`; if they stay pending, add --full-refresh."
        yield Finding("pending", f"{waiting}: {', '.join(map(str, pending[:3]))}", remedy)
    else:
        yield Finding("pending", "nothing: every landed row is in staging or quarantine")


def _models(warehouse: Warehouse) -> Iterable[Finding]:
    for feed in FEEDS:
        now = quarantine_now(warehouse, feed)
        reasons = ", ".join(f"{wording.words(reason['reason'])} {reason['keys']:,}" for reason in now["reasons"])
        yield _of_keys("quarantine", feed, now["keys"], "", reasons)
    accounts = wording.count(held_back(warehouse)["count"], "valid account", "valid accounts")
    yield Finding("held back", f"{accounts} without a customer: unknown or gone")
    for mart in marts_of_prod(warehouse):
        yield _mart(warehouse, mart)
    # Last: a database of before this table has it from its next run on.
    for feed in FEEDS:
        unseen = not_seen(warehouse, feed)
        samples = wording.key_list(unseen["sample_keys"], unseen["count"])
        yield _of_keys("not seen", feed, unseen["count"], f" {wording.NOT_SEEN}", samples)


def _of_keys(name: str, feed: Feed, number: int, said: str, details: str) -> Finding:
    keys = wording.count(number, wording.words(feed.name))
    return Finding(f"{name} {feed.name}", f"{keys}{said}" + (f": {details}" if details else ""))


def _mart(warehouse: Warehouse, mart: str) -> Finding:
    dated = "calculated_at" in warehouse.relation(f"SELECT * FROM {mart} LIMIT 0").columns
    newest = "MAX(calculated_at)" if dated else "NULL"
    ((rows, since),) = warehouse.fetch(f"SELECT COUNT(*), {newest} FROM {mart}")
    text = wording.count(rows, "row", "rows")
    return Finding(mart, f"{text}, the newest calculated at {since} UTC" if since else text)


def _exports(warehouse: Warehouse, folder: Path) -> Finding:
    wrong = check_outputs(folder) or outdated(warehouse, folder, model_versions(warehouse))
    remedy = f"{' '.join(wrong)} Run `python -m scripts.pipeline export`." if wrong else ""
    return Finding("exports", f"{folder}", remedy)
