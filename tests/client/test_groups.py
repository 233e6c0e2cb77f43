"""The client's groups and queries, against a real hub over HTTPS."""

from collections.abc import Iterator

import pytest
from tests.hub.served import ServedHub, served_hub
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


def test_groups_are_made_shown_changed_and_ended(client: ShoalClient, served: ServedHub) -> None:
    with served.hub.database.transaction() as session:
        one, two = (add_device(session, name=name, tags={"site": "paris"}).id for name in ("one", "two"))
    made = client.groups.create("canaries", devices=[one], description="first")
    assert (made.kind, made.devices, made.members, made.created_by) == ("static", [one], 1, "ada")
    changed = client.groups.update("canaries", add=[two], remove=[one])
    assert (changed.devices, changed.description) == ([two], "first")
    assert client.groups.show("canaries") == changed
    dynamic = client.groups.create("paris", query="tags.site = paris")
    assert (dynamic.kind, dynamic.query, dynamic.members) == ("dynamic", "tags.site = paris", 2)
    assert client.groups.update("paris", query="name = one").members == 1
    assert [group.name for group in client.groups.list()] == ["canaries", "paris"]
    assert client.groups.delete("canaries") == changed
    with pytest.raises(ApiError, match="no group canaries"):
        client.groups.show("canaries")


def test_every_match_comes_over_the_borders_of_pages(
    client: ShoalClient, served: ServedHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shoal_client.resources._PAGE", 2)
    with served.hub.database.transaction() as session:
        for number in range(5):
            add_device(session, name=f"device-{number}", tags={"pages": "yes"})
        add_device(session, name="device-9")
    found = client.devices.all(query="tags.pages = yes")
    assert [one.name for one in found] == [f"device-{number}" for number in range(5)]
