"""The sample feeds: what a first run takes where nobody has put feeds yet."""

from __future__ import annotations

import shutil

from scripts.feeds import FEEDS
from scripts.ingest.load import create_landing, last_loaded_at
from scripts.settings import DEFAULT_INPUT_PATH, PROJECT_ROOT, Settings
from scripts.warehouse import Warehouse

SAMPLE = PROJECT_ROOT / "data" / "sample"


def lay_out_sample(warehouse: Warehouse, settings: Settings) -> bool:
    """Copies the sample to the default inputs folder where neither feed is there and nothing was ever loaded; whether
    it did."""
    inputs = settings.input_path
    if inputs != DEFAULT_INPUT_PATH or any((inputs / feed.file_name).exists() for feed in FEEDS):
        return False
    create_landing(warehouse)
    if last_loaded_at(warehouse):
        return False
    inputs.mkdir(parents=True, exist_ok=True)
    for feed in FEEDS:
        shutil.copyfile(SAMPLE / feed.file_name, inputs / feed.file_name)
    return True
