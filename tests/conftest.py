"""What all tests share: none depends on this machine's settings, but for the smoke test, which is about them."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator

import pytest

SETTINGS = (
    "DATABASE_TYPE",
    "ENVIRONMENT",
    "PROD_BRANCH",
    "DUCKDB_PATH",
    "INPUT_PATH",
    "OUTPUT_PATH",
    "QUALITY_REPORTS_PATH",
    "FEED_ENCODING",
    "MAX_REMOVED_SHARE",
    "WARN_REMOVED_SHARE",
    "MAX_REJECTED_SHARE",
    "MAX_QUARANTINED_SHARE",
    "MAX_COLUMN_SHIFT",
    "LOCK_TIMEOUT",
)
PREFIXES = ("DATABRICKS_", "STATE_")
OWN_SETTINGS = ("smoke_test.py", "databricks")  # modules and folders that care for their settings themselves

# As in a process of the pipeline (scripts/pipeline.py): to look through SQLMesh's objects again and again takes long.
gc.set_threshold(50_000)

# Read when the pipeline's console is made: a narrow terminal must not cut what tests look for in the output.
os.environ["COLUMNS"] = "200"


@pytest.fixture(scope="module", autouse=True)
def no_settings_of_this_machine(request: pytest.FixtureRequest) -> Iterator[None]:
    """Neither the environment nor the developer's .env reaches the pipelines under test."""
    if set(request.path.parts) & set(OWN_SETTINGS):
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHON_DOTENV_DISABLED", "1")
        for name in list(os.environ):
            if name in SETTINGS or name.startswith(PREFIXES):
                patch.delenv(name)
        yield
