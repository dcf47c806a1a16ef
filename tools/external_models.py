"""Writes `external_models.yaml` anew from the tables of the landing zone: `python -m tools.external_models`."""

from __future__ import annotations

from scripts.feeds import FEEDS
from scripts.settings import PROJECT_ROOT
from scripts.warehouse.landing_tables import LANDING_TABLES

# The tables that models read.
DESCRIPTIONS = {
    **{feed.name: f"Append-only change log of the {feed.name} feed, written by ingest." for feed in FEEDS},
    "load": "Load ledger, one row per load and file; a load exists once its rows are here.",
    "rate_change": "Rates of interest that prod went over to, one row per change; noted by a run.",
}


def external_models() -> str:
    """The text of `external_models.yaml`: name, description and columns of each table."""
    return "".join(
        f"- name: landing.{name}\n  description: {description}\n  columns:\n"
        + "".join(f"    {column}: {kind}\n" for column, kind in LANDING_TABLES[name].items())
        for name, description in DESCRIPTIONS.items()
    )


if __name__ == "__main__":
    (PROJECT_ROOT / "external_models.yaml").write_text(external_models(), encoding="utf-8")
