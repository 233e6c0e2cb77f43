"""What of a large rollout an answer holds: by wave, or what a person has to look at first; its devices' names."""

import pytest
from fastapi.testclient import TestClient
from sqlmodel import select
from tests.hub.rollouts.test_rollout_routes import URL, Fleet

from shoal_hub.context import HubContext
from shoal_hub.rollouts.tables import Deployment, DeploymentState

STATES: dict[DeploymentState, int] = {
    "succeeded": 0, "cancelled": 0, "pending": 1, "assigned": 1, "failed": 1, "working": 2, "timed_out": 2
}  # fmt: skip


@pytest.fixture
def rollout_id(hub: HubContext, client: TestClient) -> str:
    """A rollout with a device in each state, in these waves."""
    fleet = Fleet(hub, len(STATES))
    answer = client.post(URL, json={"model": "digits", "version": "1", "devices": fleet.ids, "waves": [2, 3, 2]})
    rollout_id = str(answer.json()["id"])
    with hub.database.transaction() as session:
        rows = session.exec(select(Deployment).where(Deployment.rollout_id == rollout_id)).all()
        for row, (state, wave) in zip(rows, STATES.items(), strict=True):
            row.state, row.wave = state, wave
            session.add(row)
    return rollout_id


def listed(client: TestClient, rollout_id: str, **params: str | int) -> list[tuple[str, int]]:
    answer = client.get(f"{URL}/{rollout_id}", params=params)
    assert answer.status_code == 200, answer.text
    return [(one["state"], one["wave"]) for one in answer.json()["deployments"]]


def test_by_concern_what_has_failed_comes_first_then_what_is_at_it_then_what_has_yet_to_begin(
    client: TestClient, rollout_id: str
) -> None:
    found = listed(client, rollout_id, order="concern")
    assert found[:5] == [("failed", 1), ("timed_out", 2), ("assigned", 1), ("working", 2), ("pending", 1)]
    assert {state for state, _ in found[5:]} == {"succeeded", "cancelled"}
    assert listed(client, rollout_id, order="concern", limit=1) == [("failed", 1)], "however late its wave"


def test_without_a_word_the_order_is_that_of_the_waves(client: TestClient, rollout_id: str) -> None:
    assert [wave for _, wave in listed(client, rollout_id)] == sorted(STATES.values())
    assert client.get(f"{URL}/{rollout_id}", params={"order": "fate"}).status_code == 422


def test_devices_are_called_by_their_names(client: TestClient, rollout_id: str) -> None:
    shown = client.get(f"{URL}/{rollout_id}").json()["deployments"]
    assert {one["device_name"] for one in shown} == {f"device-{number}" for number in range(len(STATES))}
