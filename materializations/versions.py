"""SQLMesh imports every module of this folder, so that its own plans, too, show the rows that belong to a version."""

from __future__ import annotations

from scripts.project.internals import read_snapshots_from_the_state, rebuild_behind_known_versions

read_snapshots_from_the_state()
rebuild_behind_known_versions()
