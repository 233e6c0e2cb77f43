"""How many devices are at it decides how soon the controller looks again: it has to be right after each pass."""

import pytest
from fastapi.testclient import TestClient
from tests.hub.rollouts.test_rollout_routes import URL, Fleet
from tests.simulators.rows import NOON

from shoal_hub.context import HubContext
from shoal_hub.rollouts.reconcile import pass_rollouts


@pytest.fixture
def fleet(hub: HubContext) -> Fleet:
    return Fleet(hub, 4)


def _start(client: TestClient, fleet: Fleet, **changes: object) -> str:
    body = {"model": "digits", "version": "1", "devices": fleet.ids, "waves": [3, 1]} | changes
    answer = client.post(URL, json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def _at_it(hub: HubContext) -> int:
    return pass_rollouts(hub.database, NOON).at_it


def test_those_are_counted_that_were_told_and_have_not_ended(client: TestClient, hub: HubContext, fleet: Fleet) -> None:
    _start(client, fleet)
    assert _at_it(hub) == 3
    fleet.obey(fleet.ids[0])
    assert _at_it(hub) == 2
    fleet.obey(*fleet.ids[1:3])
    fleet.settle()
    assert _at_it(hub) == 1  # the second wave has one device
    fleet.obey(fleet.ids[3])
    fleet.settle()
    assert _at_it(hub) == 0


def test_those_on_their_way_back_are_counted_until_it_is_rolled_back(
    client: TestClient, hub: HubContext, fleet: Fleet
) -> None:
    rollout = _start(client, fleet, waves=[4])
    fleet.settle()
    fleet.obey()
    fleet.settle()
    client.post(f"{URL}/{rollout}/rollback")
    assert _at_it(hub) == 4
    for device_id in fleet.ids[:3]:
        fleet.report(device_id)
    assert _at_it(hub) == 1


def test_nobody_is_counted_where_others_begin_as_they_end(client: TestClient, hub: HubContext, fleet: Fleet) -> None:
    _start(client, fleet, waves=[4], max_in_flight=3)
    assert _at_it(hub) == 0


def test_of_several_rollouts_the_one_with_the_fewest_counts_and_one_that_is_over_does_not(
    client: TestClient, hub: HubContext, fleet: Fleet
) -> None:
    first = _start(client, fleet, waves=[4])
    fleet.settle()
    client.post(f"{URL}/{first}/abort")  # nobody has said yet that it is back
    _start(client, fleet, version="2", waves=[2, 2])
    assert _at_it(hub) == 2
