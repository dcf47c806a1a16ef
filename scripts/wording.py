"""How a quality report says things: the words and number formats that its page and its console form share."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

Report = dict[str, Any]

# What the rows read of a file add up from, in the order shown; with the rejected lines they are all of its data lines.
ROW_PARTS = ("new", "changed", "unchanged", "duplicate")
LINE_PARTS = (*ROW_PARTS, "rejected")
NOT_SEEN = "not seen in a file with unreadable lines"


def headline(report: Report) -> str:
    """The verdict in a few words."""
    tests = report["test_results"]
    # A report written before it had warnings counts those of its tests.
    warning_count = len(report.get("warnings", ())) or tests["warnings"]
    failed = f"Failed: {count(tests['failed'], 'blocking test')} did not pass" if tests["failed"] else "The run failed"
    return {
        "failed": failed,
        "unfinished": "The run did not finish",
        "incomplete": f"Incomplete: {count(len(report['problems']), 'part')} of this report could not be read",
        "passed_with_warnings": f"Passed with {count(warning_count, 'warning')}",
        "passed": f"Passed: all {tests['total']:,} tests" if tests["total"] else "Passed; no test ran",
    }[report["verdict"]]


def summary(report: Report) -> str:
    """One sentence on what the run took in: the rows read by kind, and what is no row, lines rejected and keys gone."""
    loads = report["loads"]
    if not loads:
        return "No new load came in with this run."
    sums = {part: sum(load[f"{part}_count"] for load in loads) for part in ("rows_read", "gone", *LINE_PARTS)}
    kinds = ", ".join(f"{sums[part]:,} {part}" for part in ROW_PARTS if sums[part])
    sentence = f"{count(sums['rows_read'], 'row')} read from {count(len(loads), 'file')}"
    sentence += f": {kinds}" if kinds else ""
    sentence += f"; {count(sums['rejected'], 'line')} rejected" if sums["rejected"] else ""
    sentence += f"; {count(sums['gone'], 'key')} gone" if sums["gone"] else ""
    return f"{sentence}."


def first_sentence(message: str) -> str:
    """What an error says first."""
    return re.split(r"(?<=[.!?])\s|\n", message.strip(), maxsplit=1)[0]


def count(value: int, one: str, many: str | None = None) -> str:
    """A count with its noun, which takes an s for many where no other form is given."""
    return f"{value:,} {one if value == 1 else many or f'{one}s'}"


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
    return key or "(blank)"


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


def commit(report: Report) -> str | None:
    """The commit, shortened, with a note where files differed from it."""
    if report["git_commit"] is None:
        return None
    return str(report["git_commit"])[:10] + (" + uncommitted changes" if report["git_dirty"] else "")


def total(section: dict[str, Any], figure: str) -> int | None:
    """A figure of a section, summed over its feeds or snapshots; None where one of them could not be read."""
    parts = section.values()
    return None if None in parts else sum(part[figure] for part in parts)
