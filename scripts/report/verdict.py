"""What a run came to, and the warnings on which that rests.

A state is judged over all rows as they stand, by the figures of the report, so that no page says two numbers for one
thing. It stays a warning until it is solved, whatever this run loaded: the same files once more have the same states.
Every state is one in which the marts are not what the newest files say: keys in quarantine, keys that stand on an older
version because of it, valid accounts that are held back, keys that were not seen.

An event is over with the load that it belongs to, and its sentence says so: that many keys were removed. So is what an
audit that does not block finds: it looks at the window of the run.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from scripts import wording as text
from scripts.results import AuditOutcome, Removal, RunRecord

Report = dict[str, Any]


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
        *(_warning("removed", "event", removal.gone_count, _removed(removal)) for removal in record.large_removals),
        *(
            _warning(audit.audit, "event", audit.failed_count, _found(audit))
            for audit in record.audits
            if not audit.passed and audit.severity != "error"
        ),
    ]


def _states(sections: Report) -> Iterable[Report]:
    older = "standing_on_older_version"
    for name, sentence, counts in (
        ("quarantine", "in quarantine: the newest row breaks a rule", _by_feed(sections["quarantine"], "keys")),
        (older, "on an older version: the newest row is in quarantine", _by_feed(sections[older], "count")),
        ("held_back", "held back: the customer is unknown or gone", _held_back(sections["held_back"])),
        ("not_seen", text.NOT_SEEN, _by_feed(sections["not_seen"], "count")),
    ):
        if counts:
            who = " and ".join(text.count(count, *text.FEED_NOUNS[feed]) for feed, count in counts.items())
            yield _warning(name, "state", sum(counts.values()), f"{who} {sentence}.")


def _by_feed(section: Report, count: str) -> dict[str, int]:
    """Feeds with a count, of those that could be read."""
    return {feed: content[count] for feed, content in section.items() if content and content[count]}


def _held_back(section: Report | None) -> dict[str, int]:
    return {"account": section["count"]} if section and section["count"] else {}


def _removed(removal: Removal) -> str:
    keys = text.count(removal.known_key_count, *text.FEED_NOUNS[removal.feed])
    share = removal.gone_count / removal.known_key_count
    return (
        f"This load removed {removal.gone_count:,} of the {keys} known before ({share:.1%}; more than "
        f"{removal.warn_share:.1%} is a warning)."
    )


def _found(audit: AuditOutcome) -> str:
    rows = text.count(audit.failed_count, "row", "rows")
    return f"{audit.audit} on {audit.model} found {rows} in the window of this run."


def _warning(name: str, kind: str, count: int, sentence: str) -> Report:
    return {"name": name, "kind": kind, "count": count, "message": sentence}
