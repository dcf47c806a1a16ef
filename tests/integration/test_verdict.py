"""The verdict of a run: what stands warns until it is solved, what a load did is a warning of that load."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from scripts.report.quality_report import build_report
from tests.lab import Lab, lab
from tests.reference import Load

START = datetime(2024, 1, 15, 2)
CUSTOMERS = [(str(key), f"Name {key}", "no") for key in range(1, 25)]
ACCOUNTS = [(f"A{key}", str(key), "100", "savings") for key in range(1, 25)]
# One account waits for its customer, one is in quarantine, and so is one that has two rows.
STATES = [("A25", "99", "100", "savings"), ("A26", "1", "x", "savings"), ("A27", "1", "1", ""), ("A27", "1", "2", "")]


@pytest.fixture(scope="module")
def current(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with lab(tmp_path_factory.mktemp("verdict")) as current:
        yield current


def take(current: Lab, days: int, accounts: Sequence[tuple[str, ...]]) -> dict[str, Any]:
    """The report of a run that takes these accounts so many days after the first load."""
    land(current, days, accounts)
    current.transform(START + timedelta(days=days))
    return report_of(current)


def land(current: Lab, days: int, accounts: Sequence[tuple[str, ...]]) -> list[str]:
    """What a report says of the events of a load, which is taken into the landing zone only."""
    current.land(Load(START + timedelta(days=days), CUSTOMERS, accounts))
    return [warning["message"] for warning in report_of(current)["warnings"] if warning["kind"] == "event"]


def report_of(current: Lab) -> dict[str, Any]:
    current.job.record.status = "succeeded"
    return build_report(current.job.record, current.job.warehouse)


def warnings(report: dict[str, Any]) -> list[tuple[str, str, int]]:
    return [(warning["name"], warning["kind"], warning["count"]) for warning in report["warnings"]]


def test_the_same_files_once_more_have_the_same_verdict_until_what_stands_is_solved(current: Lab) -> None:
    first = take(current, 0, [*ACCOUNTS, *STATES])
    assert first["verdict"] == "passed_with_warnings"
    assert warnings(first) == [("quarantine", "state", 2), ("held_back", "state", 1)]
    again = take(current, 1, [*ACCOUNTS, *STATES])
    assert (again["verdict"], again["warnings"]) == (first["verdict"], first["warnings"])
    assert [load["new_count"] for load in again["loads"]] == [0, 0]

    broken = take(current, 2, [("A1", "1", "x", "savings"), *ACCOUNTS[1:], *STATES])
    assert warnings(broken) == [
        ("quarantine", "state", 3), ("standing_on_older_version", "state", 1), ("held_back", "state", 1),
    ]  # fmt: skip
    mended = [("A25", "2", "100", "savings"), ("A26", "1", "5", "savings"), ("A27", "1", "1", "savings")]
    solved = take(current, 3, [*ACCOUNTS, *mended])
    assert (solved["verdict"], solved["warnings"]) == ("passed", [])


def test_a_load_that_removes_many_keys_warns_with_their_number_and_share(
    current: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_many = "This load removed 2 of the 27 accounts known before (7.4%; more than 5.0% is a warning)."
    land(current, 10, [*ACCOUNTS, *STATES])
    report = take(current, 11, [*ACCOUNTS, STATES[0]])
    assert report["verdict"] == "passed_with_warnings"
    assert report["warnings"][-1] == {"name": "removed", "kind": "event", "count": 2, "message": of_many}
    assert land(current, 11, [*ACCOUNTS, STATES[0]]) == [of_many], "the same command again is the same load"
    assert land(current, 12, ACCOUNTS) == [], "1 of 25 is not more than 5%"
    monkeypatch.setattr(current.job, "settings", current.job.settings.model_copy(update={"warn_removed_share": 0.5}))
    of_most = "This load removed 19 of the 24 accounts known before (79.2%; more than 50.0% is a warning)."
    assert land(current, 13, ACCOUNTS[:5]) == [of_most], "whatever is allowed"
    assert land(current, 14, ACCOUNTS[:1]) == [], "of 5 known keys a share says nothing"
    monkeypatch.undo()
    land(current, 15, [*ACCOUNTS, *STATES])
    of_some = "This load removed 7 of the 27 accounts known before (25.9%; more than 5.0% is a warning)."
    assert land(current, 16, ACCOUNTS[:20]) == [of_some], "a key that came back counts once"
