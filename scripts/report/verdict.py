"""What a run came to, and the warnings on which that rests.

A state is judged over all rows as they stand, by the figures of the report, so that no page says two numbers for one
thing. It stays a warning until it is solved, whatever this run loaded: the same files once more have the same states.
Every state is one in which the marts are not what the newest files say: keys in quarantine, keys that stand on an older
version because of it, valid accounts that are held back, keys that were not seen.

An event is over with the load that it belongs to, and its sentence says so: that many keys were removed, or that many
amounts can be read in two ways. So is what an audit that does not block finds: it looks at the window of the run.
"""

from __future__ import annotations

from collections.abc import Iterable

from scripts import wording as text
from scripts.results import AuditOutcome, RunRecord
from scripts.wording import Report


def verdict(status: str, failed_count: int, warnings: list[Report], *, is_whole: bool) -> str:
    """The worst of the run, its tests and what stands."""
    if status == "failed" or failed_count:
        return "failed"
    if status != "succeeded":
        return "unfinished"
    if not is_whole:
        return "incomplete"
    return "passed_with_warnings" if warnings else "passed"


def warnings_of(record: RunRecord, sections: Report) -> list[Report]:
    """The states, then the events, each with a sentence."""
    return [
        *_states(sections),
        *(_warning(event.name, "event", event.count, event.message) for event in record.events),
        *(_found(audit) for audit in record.audits if not audit.passed and audit.severity != "error"),
    ]


def _states(sections: Report) -> Iterable[Report]:
    for name, figure, sentence in (
        ("quarantine", "keys", "in quarantine: the newest row breaks a rule"),
        ("standing_on_older_version", "count", "on an older version: the newest row is in quarantine"),
        ("held_back", "count", "held back: the customer is unknown or gone"),
        ("not_seen", "count", text.NOT_SEEN),
    ):
        by_feed = {"account": sections[name]} if name == "held_back" else sections[name]
        counts = {feed: part[figure] for feed, part in by_feed.items() if part and part[figure]}
        if counts:
            who = " and ".join(text.count(count, text.words(feed)) for feed, count in counts.items())
            yield _warning(name, "state", sum(counts.values()), f"{who} {sentence}.")


def _found(audit: AuditOutcome) -> Report:
    rows = text.count(audit.failed_count, "row")
    sentence = f"{audit.audit} on {audit.model} found {rows} in the window of this run."
    return _warning(audit.audit, "event", audit.failed_count, sentence)


def _warning(name: str, kind: str, count: int, sentence: str) -> Report:
    return {"name": name, "kind": kind, "count": count, "message": sentence}
