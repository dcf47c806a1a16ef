"""Runs one command and writes what it took: `python -S launcher.py RESULT COMMAND...`; ends with its exit code.

A process begins with the peak memory of the one that started it, so a small one has to stand between a benchmark, which
compares millions of rows, and what it measures.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from time import perf_counter

# ru_maxrss is in kilobytes, but in bytes on macOS.
RSS_UNIT = 1 if sys.platform == "darwin" else 1024


def main(result: str, *command: str) -> int:
    """Writes the wall and CPU seconds of a command, and the bytes of its largest process, to `result` as JSON."""
    started = perf_counter()
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    took = {
        "wall_seconds": perf_counter() - started,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_bytes": usage.ru_maxrss * RSS_UNIT,
    }
    with open(result, "w", encoding="utf-8") as file:  # noqa: PTH123 - pathlib would be imported for this alone
        json.dump(took, file)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
