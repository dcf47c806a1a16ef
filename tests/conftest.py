"""What all tests share: none depends on this machine's settings, but for the smoke test, which is about them."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from _pytest.runner import runtestprotocol

from scripts.settings import Settings

SETTINGS = {field.alias for field in Settings.model_fields.values()}
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
            if name in SETTINGS:
                patch.delenv(name)
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Spreads the longest tests evenly, the first one at the very start: workers begin with a run of tests each, and
    what is left of one's run at the end is done by that worker alone."""
    longest = [item for item in items if item.get_closest_marker("properties")]
    others = [item for item in items if item not in longest]
    step = len(others) // len(longest) if longest else 0
    for number, item in enumerate(longest):
        others.insert(number * (step + 1), item)
    items[:] = others


def _with_a_large_frame(slots: int) -> Callable[[Callable[[], Any]], Any]:
    """A function that calls another one, from a frame that has room for so many local variables."""
    names = "=".join(f"_{number}" for number in range(slots))
    space: dict[str, Any] = {}
    exec(f"def call(function):\n    if False:\n        {names} = None\n    return function()", space)
    call: Callable[[Callable[[], Any]], Any] = space["call"]
    return call


# CPython (3.11 on) maps its stack of frames in chunks of 16 kB and gives each back as soon as it is empty: a loop that
# calls over the border of two maps memory at every call. Beneath pytest and hypothesis that took a third of the time.
# A chunk is as large as its first frame needs, doubled: all that a test calls has room in the rest of this one.
_in_one_chunk = _with_a_large_frame(17_000)


def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool:
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    _in_one_chunk(lambda: runtestprotocol(item, nextitem=nextitem))
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True
