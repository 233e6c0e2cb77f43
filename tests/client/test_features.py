"""The client's features, against a real hub over HTTPS."""

from collections.abc import Iterator

import pytest
from tests.hub.served import ServedHub, served_hub
from tests.simulators.feature_sets import features
from tests.simulators.rows import add_device

from shoal_client import ApiError, ShoalClient


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedHub]:
    with served_hub(tmp_path_factory.mktemp("hub")) as hub:
        yield hub


@pytest.fixture
def client(served: ServedHub) -> Iterator[ShoalClient]:
    with ShoalClient(served.url, served.token, served.ca_path) as opened:
        yield opened


def test_features_are_set_assigned_shown_and_removed(client: ShoalClient, served: ServedHub) -> None:
    with served.hub.database.transaction() as session:
        device = add_device(session, name="kitchen").id
    made = client.features.set("pumps", features())
    assert (made.version, made.set_by, made.pipelines, made.device_count) == (1, "ada", ["pumps"], 0)
    client.groups.create("plant", devices=[device])
    assert client.features.assign("pumps", group="plant").groups == ["plant"]
    assert client.features.assign("pumps", device_id=device).devices == [device]
    [status] = client.features.devices("pumps")
    assert (status.id, status.version, status.left_out) == (device, 1, "")
    assert [(one.name, one.state) for one in status.pipelines] == [("pumps", "waiting")]
    assert client.features.set("pumps", features(max_waiting=5)).version == 2
    assert client.features.show("pumps", version=1).body == made.body
    assert [one.version for one in client.features.list()] == [2]
    client.features.unassign("pumps", group="plant")
    assert client.features.unassign("pumps", device_id=device).device_count == 0
    assert client.features.remove("pumps").version == 2
    with pytest.raises(ApiError, match="no features pumps"):
        client.features.show("pumps")


@pytest.mark.parametrize("target", [{}, {"group": "plant", "device_id": "d-x"}])
def test_an_assignment_is_to_a_group_or_to_a_device(client: ShoalClient, target: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="expected one of them"):
        client.features.assign("pumps", **target)
