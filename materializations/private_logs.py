"""SQLMesh imports every module of this folder, so that its own commands, too, keep rows out of their log files."""

from __future__ import annotations

from scripts.project.logs import keep_rows_out_of_logs

keep_rows_out_of_logs()
