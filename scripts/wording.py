"""How a quality report says things: the words and number formats that its page and its console form share."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import PurePath
from typing import Any

Report = dict[str, Any]

# What the rows read of a file add up from, in the order shown; with the rejected lines they are all of its data lines.
ROW_PARTS = ("new", "changed", "unchanged", "duplicate")
LINE_PARTS = (*ROW_PARTS, "rejected")
FEED_NOUNS = {"customer": ("customer", "customers"), "account": ("account", "accounts")}
NOT_SEEN = "not seen in a file with unreadable lines"
_BLANK_KEY = "(blank)"


def headline(report: Report) -> str:
    """The verdict in a few words."""
    tests = report["test_results"]
    if report["verdict"] == "failed":
        if tests["failed"]:
            return f"Failed: {count(tests['failed'], 'blocking test', 'blocking tests')} did not pass"
        return "The run failed"
    if report["verdict"] == "unfinished":
        return "The run did not finish"
    if report["verdict"] == "incomplete":
        return f"Incomplete: {count(len(report['problems']), 'part', 'parts')} of this report could not be read"
    if report["verdict"] == "passed_with_warnings":
        return f"Passed with {count(len(warnings(report)) or tests['warnings'], 'warning', 'warnings')}"
    return f"Passed: all {number(tests['total'])} tests" if tests["total"] else "Passed; no test ran"


def warnings(report: Report) -> list[Report]:
    """What the verdict warns of; a report written before there was this part has none."""
    found: list[Report] = report.get("warnings", [])
    return found


def summary(report: Report) -> str:
    """One sentence on what the run took in: the rows read by kind, and what is no row, lines rejected and keys gone."""
    loads = report["loads"]
    if not loads:
        return "No new load came in with this run."
    sums = {part: sum(load[f"{part}_count"] for load in loads) for part in ("rows_read", "gone", *LINE_PARTS)}
    kinds = ", ".join(f"{number(sums[part])} {part}" for part in ROW_PARTS if sums[part])
    read = f"{count(sums['rows_read'], 'row', 'rows')} read from {count(len(loads), 'file', 'files')}"
    sentence = [f"{read}: {kinds}" if kinds else read]
    if sums["rejected"]:
        sentence.append(f"{count(sums['rejected'], 'line', 'lines')} rejected")
    if sums["gone"]:
        sentence.append(f"{count(sums['gone'], 'key', 'keys')} gone")
    return "; ".join(sentence) + "."


def first_sentence(message: str) -> str:
    """What an error says first."""
    return re.split(r"(?<=[.!?])\s|\n", message.strip(), maxsplit=1)[0]


def number(value: float | None) -> str:
    """A count with thousands separators; a dash for none."""
    return "–" if value is None else f"{value:,}"


def count(value: int, one: str, many: str) -> str:
    """A count with its noun."""
    return f"{value:,} {one if value == 1 else many}"


def seconds(value: float | None) -> str:
    """A duration: milliseconds, seconds or minutes, whichever reads best."""
    if value is None:
        return "–"
    if value < 0.9995:
        return f"{value * 1000:.0f} ms"
    if value < 59.95:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def size(value: int) -> str:
    """Bytes in the unit that reads best."""
    amount, units = float(value), ["bytes", "kB", "MB", "GB", "TB"]
    while amount >= 999.5 and len(units) > 1:
        amount /= 1000
        units.pop(0)
    return f"{amount:.0f} {units[0]}" if units[0] == "bytes" or amount >= 99.95 else f"{amount:.1f} {units[0]}"


def moment(value: str | None, precise: bool = False) -> str:
    """An ISO time as `15 Jan 2024, 10:30:00 UTC`; `precise` keeps the microseconds."""
    if value is None:
        return "–"
    time = datetime.fromisoformat(value)
    fraction = f".{time.microsecond:06d}" if precise and time.microsecond else ""
    return f"{time.day} {time:%b %Y, %H:%M:%S}{fraction} UTC"


def key_text(key: str) -> str:
    """A sample key for the eye: a blank one is said."""
    return key or _BLANK_KEY


def key_list(samples: list[str], count: int) -> str:
    """Sample keys, and how many more there are."""
    more = f", and {count - len(samples):,} more" if count > len(samples) else ""
    return ", ".join(key_text(key) for key in samples) + more


def printable(value: Any) -> Any:
    """The same data with every letter escaped that would disturb a terminal or a page, line ends excepted."""
    if isinstance(value, dict):
        return {printable(key): printable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [printable(item) for item in value]
    if isinstance(value, str):
        return "".join(
            letter if letter.isprintable() or letter == "\n" else f"\\u{ord(letter):04x}"
            for letter in value.expandtabs(4).replace("\r\n", "\n")
        )
    return value


def words(code: str) -> str:
    """A code as words: `customer_id_missing` → `customer id missing`."""
    return code.replace("_", " ")


def file_name(path: str) -> str:
    """The last part of a path."""
    return PurePath(path).name


def commit(report: Report) -> str | None:
    """The commit, shortened, with a note where files differed from it."""
    if report["git_commit"] is None:
        return None
    return str(report["git_commit"])[:10] + (" + uncommitted changes" if report["git_dirty"] else "")


def problem(report: Report, name: str) -> str:
    """Why a section could not be filled."""
    return str(report["problems"].get(name, "Not available."))


def quarantined_keys(report: Report) -> int | None:
    """Keys in quarantine now, both feeds; None where one is not known."""
    feeds = report["quarantine"].values()
    return None if any(feed is None for feed in feeds) else sum(feed["keys"] for feed in feeds)


def older_count(report: Report) -> int | None:
    """Keys that stand on an older version, both feeds; None where one is not known."""
    feeds = report["standing_on_older_version"].values()
    return None if any(feed is None for feed in feeds) else sum(feed["count"] for feed in feeds)


def unseen_count(report: Report) -> int | None:
    """Keys not seen in a file with unreadable lines, both feeds; None where one is not known."""
    feeds = report["not_seen"].values()
    return None if any(feed is None for feed in feeds) else sum(feed["count"] for feed in feeds)


def version_changes(report: Report) -> tuple[int, int] | None:
    """Versions opened and closed by the run, both snapshots; None where one is not known."""
    snapshots = report["versions"].values()
    if any(snapshot is None for snapshot in snapshots):
        return None
    return sum(s["opened"] for s in snapshots), sum(s["closed"] for s in snapshots)


def any_known(section: dict[str, Any]) -> bool:
    """Whether at least one part of a section could be filled."""
    return any(part is not None for part in section.values())
