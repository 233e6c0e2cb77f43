"""Three endpoints in processes of their own, one of them saturated: what it answers late alone is answered in time."""

from pathlib import Path

import pytest
from tests.simulators.slow_endpoint_process import load, make_neighbours, running_endpoints

LOAD = 2.0
"""Requests that come, of those that one device can answer."""
LASTS_S = 6.0


@pytest.mark.slow
def test_with_one_of_three_saturated_p99_stays_within_twice_that_of_no_load(tmp_path: Path) -> None:
    with running_endpoints(tmp_path, 3) as endpoints:
        busy, *others = endpoints
        unloaded = load(busy, 0.3, LASTS_S)
        alone = load(busy, LOAD, 3.0)
        make_neighbours(endpoints)
        load(busy, LOAD, 1.0)  # connections are made
        loaded = load(busy, LOAD, LASTS_S)
    assert {*unloaded.statuses, *loaded.statuses} == {200}
    assert set(loaded.by) == {"here", *(one.about["device"] for one in others)}
    assert alone.p99_s > 4 * unloaded.p99_s, "it is saturated without its neighbours"
    assert loaded.p99_s <= 2 * unloaded.p99_s
