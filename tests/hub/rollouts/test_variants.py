"""Which variant a device gets: by its hardware's order, by what the plan prefers, and only what the plan allows."""

from typing import Any, NamedTuple

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from tests.hub.rollouts.test_rollout_routes import TARGET, URL, Fleet
from tests.simulators.rows import add_version

from shoal_hub.context import HubContext
from shoal_hub.devices.intents import intents_of
from shoal_hub.rollouts.request import RolloutPlan
from shoal_hub.rollouts.variants import choose_target, rank_variants

SMALL, QUICK, EXACT = "pi4-litert-int8", "pi4-onnx-int8", "pi4-onnx-fp32"
FIGURES = {SMALL: (1000, 3.0, 0.91), QUICK: (2000, 1.0, None), EXACT: (8000, None, 0.97)}


class Variant(NamedTuple):
    """What a variant was measured to be."""

    target: str
    size_bytes: int
    latency_p50_ms: float | None
    accuracy: float | None


VARIANTS = [Variant(target, *figures) for target, figures in FIGURES.items()]


@pytest.mark.parametrize(
    ("plan", "runs", "expected"),
    [
        ({}, (EXACT, SMALL), EXACT),
        ({}, ("jetson", QUICK, SMALL), QUICK),
        ({"prefer": "smallest"}, (EXACT, QUICK, SMALL), SMALL),
        ({"prefer": "fastest"}, (EXACT, SMALL, QUICK), QUICK),
        ({"prefer": "fastest"}, (EXACT,), EXACT),
        ({"prefer": "most_accurate"}, (SMALL, QUICK, EXACT), EXACT),
        ({"prefer": "most_accurate"}, (QUICK, SMALL), SMALL),
        ({"targets": [QUICK]}, (SMALL, QUICK), QUICK),
        ({"targets": [QUICK], "prefer": "smallest"}, (SMALL, QUICK), QUICK),
        ({"targets": [QUICK]}, (SMALL, EXACT), ""),
        ({}, ("jetson",), ""),
    ],
)
def test_the_plan_orders_what_the_hardware_can_run(plan: dict[str, Any], runs: tuple[str, ...], expected: str) -> None:
    assert choose_target(runs, rank_variants(VARIANTS, RolloutPlan.model_validate(plan))) == expected


@given(
    st.permutations([*FIGURES, "jetson"]).flatmap(lambda names: st.integers(0, 4).map(lambda count: names[:count])),
    st.sampled_from(["device", "smallest", "fastest", "most_accurate"]),
    st.sets(st.sampled_from(sorted(FIGURES))),
)
def test_a_device_gets_a_variant_exactly_where_it_can_run_an_allowed_one(
    runs: list[str], prefer: str, allowed: set[str]
) -> None:
    plan = RolloutPlan.model_validate({"prefer": prefer, "targets": sorted(allowed)})
    chosen = choose_target(runs, rank_variants(VARIANTS, plan))
    possible = {one for one in runs if one in (allowed or set(FIGURES))}
    assert chosen in possible if possible else chosen == ""


def test_what_the_plan_shows_is_what_the_device_is_told(client: TestClient, hub: HubContext) -> None:
    fleet = Fleet(hub, 1)
    (device,) = fleet.ids
    with hub.database.transaction() as session:
        add_version(session, hub.artifacts, 3, {TARGET: b"a" * 9000, SMALL: b"b" * 100})
    fleet.report(device, targets=(TARGET, SMALL))
    request = {"model": "digits", "version": "3", "devices": [device], "prefer": "smallest"}
    shown = client.post(f"{URL}/plan", json=request).json()["devices"][0]
    assert (shown["target"], shown["disk_bytes"]) == (SMALL, 100)
    rollout = client.post(URL, json=request).json()
    fleet.settle()
    with hub.database.session() as session:
        assert [one.body["target"] for one in intents_of(session, device)] == [SMALL]
    assert client.get(f"{URL}/{rollout['id']}").json()["deployments"][0]["target"] == SMALL


def test_a_target_that_the_version_has_no_variant_for_is_refused(client: TestClient, hub: HubContext) -> None:
    Fleet(hub, 1)
    answer = client.post(URL, json={"model": "digits", "version": "2", "targets": ["pi5-none"]})
    assert answer.status_code == 422
    assert "no variant for pi5-none" in answer.text
