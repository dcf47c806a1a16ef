"""When prod went over to which rates of interest: the marts' `calculated_at` moves with them.

A row of the marts is calculated from a load and from the rates. `calculated_at` is the later of the two times, both on
the clock of the loads, so that whoever takes what was calculated since their last time misses neither. A change is
noted when a run first sees it, just after the newest load: all loads to come are later. The rates that a database began
with are noted with the time at which models begin. Branches show the changes that prod has seen.
"""

from __future__ import annotations

import csv
from datetime import datetime, timedelta
from decimal import Decimal
from io import StringIO

from sqlmesh import Context
from sqlmesh.core.model import SeedModel

from scripts.clock import FIRST_LOAD_AT, end_of_window
from scripts.ingest.load import last_loaded_at
from scripts.project import windows
from scripts.project.prod import prod_versions
from scripts.sql import row_literal
from scripts.warehouse import Warehouse

RATES = "reference.interest_rate_tier"


def note_rate_change(context: Context, warehouse: Warehouse) -> bool:
    """Notes in `landing.rate_change` that prod goes over to this folder's rates, and has its marts calculated anew, if
    they are other rates than those noted last; returns whether they are.
    """
    model = context.get_model(RATES, raise_if_missing=True)
    assert isinstance(model, SeedModel)
    rates = rates_as_text(model.seed.content)
    noted = warehouse.fetch("SELECT changed_at, rates FROM landing.rate_change ORDER BY changed_at DESC LIMIT 1")
    if noted and noted[0][1] == rates:
        return False
    changed_at, changes = FIRST_LOAD_AT, bool(noted) or _prod_holds_others(context, model)
    if changes:
        # Before it is noted: what is calculated from then on has the change in it, and one that is not noted is noted
        # by the next run.
        windows.reopen(context, models={one.fqn for one in context.models.values() if one.schema_name == "marts"})
        changed_at = _time_of_change(warehouse, noted[0][0] if noted else None)
    warehouse.execute(f"INSERT INTO landing.rate_change VALUES {row_literal([changed_at, rates])}")
    return changes


def rates_as_text(seed: str) -> str:
    """The tiers of the seed's CSV, the lowest first; the same for the same numbers, however they are written."""
    columns = ("balance_from_amount", "interest_rate_pct", "loan_bonus_pct")
    tiers = sorted(tuple(Decimal(row[column]) for column in columns) for row in csv.DictReader(StringIO(seed)))
    return "; ".join(f"from {balance:.2f}: {rate:.4f}, with a loan {bonus:.4f} more" for balance, rate, bonus in tiers)


def _prod_holds_others(context: Context, rates: SeedModel) -> bool:
    """Whether there is a prod with other rates: a database of before they were noted."""
    here = context.snapshots[rates.fqn].fingerprint.data_hash
    return any(one.name == rates.fqn and one.fingerprint.data_hash != here for one in prod_versions(context))


def _time_of_change(warehouse: Warehouse, last_change: datetime | None) -> datetime:
    """Just after the newest load, and after the change before."""
    loaded_at = last_loaded_at(warehouse)
    return max(
        end_of_window(loaded_at) if loaded_at else FIRST_LOAD_AT,
        last_change + timedelta(milliseconds=1) if last_change else FIRST_LOAD_AT,
    )
