"""Random sequences of loads through the real pipeline, against the plain reference, after every load, row for row."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from tests.compare import assert_same_rows
from tests.feed_strategies import feed_sequences
from tests.lab import lab
from tests.reference import Load, Reference

# Each worker of a parallel run takes a quarter. A failure is not shrunk, at seconds a load that would take hours: the
# sequence is printed as it is.
QUARTERS = ("first", "second", "third", "fourth")
EXAMPLES = int(os.environ.get("PROPERTY_EXAMPLES", "8")) // len(QUARTERS)


@pytest.mark.properties
@pytest.mark.parametrize("quarter", QUARTERS)
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.generate),
    print_blob=True,
)
@given(loads=feed_sequences())
def test_every_table_equals_the_reference_after_every_load(quarter: str, loads: list[Load]) -> None:
    reference = Reference()
    with tempfile.TemporaryDirectory() as folder, lab(Path(folder), MAX_REJECTED_SHARE="1") as current:
        for load in loads:
            counts = reference.take(load)
            current.take(load)
            assert current.failed_audits() == []
            for ledger in current.job.record.loads:
                expected = counts[ledger.feed]
                assert (
                    ledger.rows_read_count,
                    ledger.new_count,
                    ledger.changed_count,
                    ledger.gone_count,
                    ledger.unchanged_count,
                    ledger.duplicate_count,
                    ledger.rejected_count,
                ) == (
                    expected.rows_read,
                    expected.new,
                    expected.changed,
                    expected.gone,
                    expected.unchanged,
                    expected.duplicate,
                    len(load.damaged[ledger.feed]),
                ), ledger.feed
            for table, rows in reference.tables().items():
                assert_same_rows(rows, current.rows(table), table)
