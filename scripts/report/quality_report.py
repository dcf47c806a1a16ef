"""The quality report of a run: what came in, which tests failed, what stands in quarantine, what changed, how long.

`build_report` makes it from the record of the run and from the tables, also when the run failed: a section that can't
be filled is null, and `problems` says why. `write_report` writes it as JSON and as a page that needs no network.
"""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from scripts.clock import utc_now
from scripts.errors import PipelineError, for_files
from scripts.feeds import FEEDS, Feed
from scripts.files import write_atomically
from scripts.report import figures
from scripts.report.html import render_html
from scripts.report.verdict import verdict, warnings_of
from scripts.results import LAYERS, AuditOutcome, RunRecord
from scripts.settings import PROJECT_ROOT
from scripts.warehouse import Warehouse
from scripts.wording import Report, count

_NAMES = f"quality_report_{'[0-9]' * 8}T{'[0-9]' * 6}_{'[0-9]' * 6}Z.json"
# What an audit finds, one and many, by the audit's name.
_FOUND = {
    "unique_values": ("duplicate value",),
    "unique_combination_of_columns": ("duplicate combination",),
    "not_null": ("missing value",),
    "accepted_values": ("value that is not accepted", "values that are not accepted"),
}


def build_report(record: RunRecord, warehouse: Warehouse | None) -> Report:
    """The report as plain data, ready for JSON. Times are ISO 8601 in UTC. Never raises because of the warehouse."""
    finished_at = record.finished_at or utc_now()
    commit, dirty = _git_state()
    tests = _count_tests("total", record.audits)
    layers = list(dict.fromkeys((*LAYERS, *sorted(audit.layer for audit in record.audits))))
    sections, problems = _sections(record, warehouse)
    warnings = warnings_of(record, sections)
    return {
        "schema_version": 1,
        "timestamp": _iso(finished_at),
        "environment": record.environment,
        "run_id": record.run_id,
        "status": record.status,
        "verdict": verdict(record.status, tests["failed"], warnings, is_whole=not problems),
        "error": record.error,
        "warnings": warnings,
        "gateway": record.gateway,
        "git_commit": commit,
        "git_dirty": dirty,
        "started_at": _iso(record.started_at),
        "finished_at": _iso(finished_at),
        "seconds": round((finished_at - record.started_at).total_seconds(), 3),
        "loaded_at": _iso(record.loaded_at),
        "execution_time": _iso(record.execution_time),
        "test_results": tests,
        "layer_summary": {
            layer: _count_tests("tests", [audit for audit in record.audits if audit.layer == layer]) for layer in layers
        },
        "failed_tests": _failed_tests(record.audits, layers),
        "loads": [asdict(load) | {"loaded_at": _iso(load.loaded_at)} for load in record.loads],
        **sections,
        "models": [
            {"model": m.model, "layer": m.layer, "seconds": round(m.seconds, 3), "rows": m.row_count}
            for m in record.models
        ],
        "step_seconds": {step: round(seconds, 3) for step, seconds in record.step_seconds.items()},
        "statements": [
            asdict(statement) | {"seconds": round(statement.seconds, 3)}
            for statement in sorted(record.statements, key=lambda statement: -statement.seconds)
        ],
        "exports": [
            {"path": e.path, "rows": e.row_count, "bytes": e.byte_count, "sha256": e.sha256, "written": e.written}
            for e in record.exports
        ],
        "problems": problems,
    }


def write_report(report: Report, folder: str | Path) -> Path:
    """Writes `quality_report_<UTC time>.html` and `.json` into the folder and returns the path of the JSON file.

    The JSON comes last: where it stands, the page stands too.

    Raises:
        PipelineError: The folder can't be written.
    """
    moment = datetime.fromisoformat(report["timestamp"])
    path = Path(folder) / f"quality_report_{moment:%Y%m%dT%H%M%S_%f}Z.json"
    content = json.dumps(report, indent=2, ensure_ascii=False) + "\n"
    page = render_html(report)
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
    return max(Path(folder).glob(_NAMES), default=None)


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


def _sections(record: RunRecord, warehouse: Warehouse | None) -> tuple[Report, dict[str, str]]:
    """The parts that come from the tables, null where they could not be read, and of each such part a sentence."""
    problems: dict[str, str] = {}
    unreachable = _unreachable(warehouse)
    loads = {load.loaded_at for load in record.loads}
    versioned = [feed for feed in FEEDS if figures.has_snapshot(feed)]

    def part(name: str, read: Callable[..., Report], *arguments: Any) -> Report | None:
        if unreachable:
            problems[name] = unreachable
            return None
        try:
            return read(warehouse, *arguments)
        except Exception as error:
            problems[name] = f"Could not be read: {for_files(error).splitlines()[0]}"
            return None

    def by_feed(section: str, read: Callable[..., Report], feeds: Iterable[Feed]) -> Report:
        return {feed.name: part(f"{section}.{feed.name}", read, feed) for feed in feeds}

    sections = {
        "rejects": part("rejects", figures.rejects, loads),
        "quarantine": by_feed("quarantine", figures.quarantine_now, FEEDS),
        "standing_on_older_version": by_feed("standing_on_older_version", figures.standing_on_older_version, versioned),
        "held_back": part("held_back", figures.held_back),
        "not_seen": by_feed("not_seen", figures.not_seen, FEEDS),
        "versions": {
            f"snap_{feed.name}": part(f"versions.snap_{feed.name}", figures.versions, feed, loads) for feed in versioned
        },
        "mart_rows": part("mart_rows", figures.mart_rows),
    }
    return sections, problems


def _unreachable(warehouse: Warehouse | None) -> str | None:
    """None where the warehouse answers; else a sentence. Asked once, so that a dead one costs one wait, not ten."""
    if warehouse is None:
        return "There was no connection to the warehouse."
    try:
        warehouse.fetch("SELECT 1")
    except Exception as error:
        return f"The warehouse could not be reached: {for_files(error).splitlines()[0]}"
    return None


def _count_tests(name_of_total: str, audits: list[AuditOutcome]) -> dict[str, int]:
    not_passed = Counter(audit.severity for audit in audits if not audit.passed)
    return {
        name_of_total: len(audits),
        "passed": len(audits) - not_passed.total(),
        "failed": not_passed["error"],
        "warnings": not_passed["warn"],
    }


def _failed_tests(audits: list[AuditOutcome], layers: list[str]) -> list[Report]:
    """What did not pass: the blocking audits first, each kind in the order of the layers."""
    failed = [audit for audit in audits if not audit.passed]
    failed.sort(key=lambda audit: (audit.severity != "error", layers.index(audit.layer), audit.model, audit.audit))
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
    found = _FOUND.get(audit.audit.partition("(")[0], ("row that breaks the rule", "rows that break the rule"))
    return f"Found {count(audit.failed_count, *found)}"


def _git_state() -> tuple[str | None, bool | None]:
    """Commit of the project and whether its files differ from it; (None, None) outside a repository of its own."""
    with suppress(OSError, ValueError, subprocess.SubprocessError):
        top, commit = _git("rev-parse", "--show-toplevel", "HEAD").splitlines()
        if Path(top).resolve() == PROJECT_ROOT:
            return commit, bool(_git("--no-optional-locks", "status", "--porcelain").strip())
    return None, None


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(PROJECT_ROOT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else f"{moment.isoformat(timespec='microseconds')}Z"
