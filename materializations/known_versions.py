"""SQLMesh imports every module of this folder, so that its own plans, too, build anew what reads other rows."""

from __future__ import annotations

from scripts.project.internals import rebuild_behind_known_versions

rebuild_behind_known_versions()
