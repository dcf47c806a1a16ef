"""The quality report of a run: what came in, which tests failed, what stands in quarantine, what changed, how long.

`build_report` makes it from the record of the run and from the tables, also when the run failed: a section that can't
be filled is null, and `problems` says why. `write_report` writes it as JSON and as a page that needs no network.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from scripts.errors import PipelineError, for_files
from scripts.feeds import FEEDS
from scripts.files import write_atomically
from scripts.report import console as report_console
from scripts.report import figures as sql
from scripts.report import html as report_html
from scripts.report.verdict import verdict, warnings_of
from scripts.results import LAYERS, AuditOutcome, FeedLoad, RunRecord
from scripts.warehouse import Warehouse

SCHEMA_VERSION = 1
_PROJECT = Path(__file__).resolve().parents[2]
_GIT_SECONDS = 10
_NAME = re.compile(r"quality_report_\d{8}T\d{6}_\d{6}Z\.json")
_FEEDS = tuple(feed.name for feed in FEEDS)

Report = dict[str, Any]


def build_report(record: RunRecord, warehouse: Warehouse | None) -> Report:
    """The report as plain data, ready for JSON. Times are ISO 8601 in UTC. Never raises because of the warehouse."""
    started_at, finished_at = _naive(record.started_at), _naive(record.finished_at or datetime.now(UTC))
    commit, dirty = _git_state()
    counts = _count_tests(record.audits)
    sections = _sections(record, warehouse)
    warnings = warnings_of(record, sections)
    report: Report = {
        "schema_version": SCHEMA_VERSION,
        "timestamp": _iso(finished_at),
        "environment": record.environment,
        "run_id": record.run_id,
        "status": record.status,
        "verdict": verdict(record.status, counts["failed"], warnings, is_whole=not sections["problems"]),
        "error": record.error,
        "warnings": warnings,
        "gateway": record.gateway,
        "git_commit": commit,
        "git_dirty": dirty,
        "started_at": _iso(started_at),
        "finished_at": _iso(finished_at),
        "seconds": round((finished_at - started_at).total_seconds(), 3),
        "loaded_at": _iso(record.loaded_at),
        "execution_time": _iso(record.execution_time),
        "test_results": {"total": counts["tests"], **{name: counts[name] for name in ("passed", "failed", "warnings")}},
        "layer_summary": _layer_summary(record.audits),
        "failed_tests": _failed_tests(record.audits),
        "loads": [_load(load) for load in record.loads],
    }
    report |= sections
    report["models"] = [
        {"model": m.model, "layer": m.layer, "seconds": round(m.seconds, 3), "rows": m.row_count} for m in record.models
    ]
    report["step_seconds"] = {step: round(seconds, 3) for step, seconds in record.step_seconds.items()}
    report["statements"] = [
        {"model": s.model, "seconds": round(s.seconds, 3), "query_id": s.query_id, "sql": s.sql}
        for s in sorted(record.statements, key=lambda s: -s.seconds)
    ]
    report["exports"] = [
        {"path": e.path, "rows": e.row_count, "bytes": e.byte_count, "sha256": e.sha256, "written": e.written}
        for e in record.exports
    ]
    report["problems"] = report.pop("problems")
    return report


def write_report(report: Report, folder: str | Path) -> Path:
    """Writes `quality_report_<UTC time>.html` and `.json` into the folder and returns the path of the JSON file.

    The JSON comes last: where it stands, the page stands too.

    Raises:
        PipelineError: The folder can't be written.
    """
    moment = datetime.fromisoformat(report["timestamp"])
    path = Path(folder) / f"quality_report_{moment:%Y%m%dT%H%M%S}_{moment.microsecond:06d}Z.json"
    content = json.dumps(report, indent=2, ensure_ascii=False) + "\n"
    page = report_html.render_html(report)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for leftover in path.parent.glob(".quality_report_*.tmp-*"):
            leftover.unlink(missing_ok=True)
        # An error's text may hold bytes of a file name that are no text; both files then show them as escapes.
        write_atomically(path.with_suffix(".html"), page.encode("utf-8", "backslashreplace"))
        write_atomically(path, content.encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise PipelineError(
            f"The quality report can't be written to {path.parent}: {error}. Give this user write permission and room "
            "there, or set QUALITY_REPORTS_PATH to another folder."
        ) from error
    return path


def latest_report_path(folder: str | Path) -> Path | None:
    """Path of the newest report's JSON file, None where there is none."""
    path = Path(folder)
    names = sorted(entry.name for entry in path.iterdir() if _NAME.fullmatch(entry.name)) if path.is_dir() else []
    return path / names[-1] if names else None


def latest_report(folder: str | Path) -> Report:
    """The newest report in the folder.

    Raises:
        PipelineError: There is none, or it can't be read.
    """
    path = latest_report_path(folder)
    if path is None:
        raise PipelineError(f"There is no quality report in {folder} yet: each run of the pipeline writes one.")
    try:
        report: Report = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PipelineError(f"{path} can't be read ({error}): remove it, or run the pipeline again.") from error
    return report


def print_report(report: Report, console: Console) -> None:
    """Prints a report in a compact form that fits the console's width."""
    report_console.print_report(report, console)


def _sections(record: RunRecord, warehouse: Warehouse | None) -> Report:
    """The parts that come from the tables, null where they could not be read, and `problems`: a sentence for each."""
    problems: dict[str, str] = {}
    unreachable = "There was no connection to the warehouse." if warehouse is None else _reach(warehouse)
    loads = {_naive(load.loaded_at) for load in record.loads}

    def part(name: str, read: Callable[..., Report], *arguments: Any) -> Report | None:
        if warehouse is None or unreachable:
            problems[name] = unreachable or ""
            return None
        try:
            return read(warehouse, *arguments)
        except Exception as error:
            problems[name] = f"Could not be read: {_first_line_for_files(error)}"
            return None

    older = "standing_on_older_version"
    return {
        "rejects": part("rejects", sql.rejects, loads),
        "quarantine": {feed: part(f"quarantine.{feed}", sql.quarantine_now, feed) for feed in _FEEDS},
        older: {feed: part(f"{older}.{feed}", sql.standing_on_older_version, feed) for feed in _FEEDS},
        "held_back": part("held_back", sql.held_back),
        "not_seen": {feed: part(f"not_seen.{feed}", sql.not_seen, feed) for feed in _FEEDS},
        "versions": {f"snap_{f}": part(f"versions.snap_{f}", sql.versions, f, loads) for f in _FEEDS},
        "mart_rows": part("mart_rows", sql.mart_rows),
        "problems": problems,
    }


def _reach(warehouse: Warehouse) -> str | None:
    """None where the warehouse answers; else a sentence. Asked once, so that a dead one costs one wait, not ten."""
    try:
        warehouse.fetch("SELECT 1")
    except Exception as error:
        return f"The warehouse could not be reached: {_first_line_for_files(error)}"
    return None


def _first_line_for_files(error: Exception) -> str:
    return for_files(error).splitlines()[0]


def _count_tests(audits: list[AuditOutcome]) -> dict[str, int]:
    failed = sum(not audit.passed and audit.severity == "error" for audit in audits)
    warnings = sum(not audit.passed and audit.severity != "error" for audit in audits)
    return {
        "tests": len(audits),
        "passed": len(audits) - failed - warnings,
        "failed": failed,
        "warnings": warnings,
    }


def _layer_summary(audits: list[AuditOutcome]) -> dict[str, dict[str, int]]:
    others = sorted({audit.layer for audit in audits} - set(LAYERS))
    return {layer: _count_tests([audit for audit in audits if audit.layer == layer]) for layer in (*LAYERS, *others)}


def _failed_tests(audits: list[AuditOutcome]) -> list[Report]:
    failed = [audit for audit in audits if not audit.passed]
    failed.sort(key=lambda audit: (audit.severity != "error", _place(audit.layer), audit.model, audit.audit))
    return [
        {
            "test": audit.audit,
            "model": audit.model,
            "severity": audit.severity,
            "message": _message(audit),
            "failed_count": audit.failed_count,
            "query": audit.query,
        }
        for audit in failed
    ]


def _message(audit: AuditOutcome) -> str:
    one = audit.failed_count == 1
    found = {
        "unique_values": "duplicate value" if one else "duplicate values",
        "unique_combination_of_columns": "duplicate combination" if one else "duplicate combinations",
        "not_null": "missing value" if one else "missing values",
        "accepted_values": "value that is not accepted" if one else "values that are not accepted",
    }.get(audit.audit.partition("(")[0], "row that breaks the rule" if one else "rows that break the rule")
    return f"Found {audit.failed_count:,} {found}"


def _place(layer: str) -> int:
    return LAYERS.index(layer) if layer in LAYERS else len(LAYERS)


def _load(load: FeedLoad) -> Report:
    return asdict(load) | {"loaded_at": _iso(load.loaded_at)}


def _git_state() -> tuple[str | None, bool | None]:
    """Commit of the project and whether its files differ from it; (None, None) outside a repository of its own."""
    try:
        top, commit = _git("rev-parse", "--show-toplevel", "HEAD").splitlines()
        if Path(top).resolve() != _PROJECT:
            return None, None
        return commit, bool(_git("--no-optional-locks", "status", "--porcelain").strip())
    except (OSError, ValueError, subprocess.SubprocessError):
        return None, None


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(_PROJECT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=_GIT_SECONDS).stdout


def _naive(moment: datetime) -> datetime:
    return moment if moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else _naive(moment).isoformat(timespec="microseconds") + "Z"
