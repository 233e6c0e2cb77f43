"""The client's sites, against a real hub over HTTPS."""

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


def test_a_site_is_made_shown_changed_and_ended(client: ShoalClient, served: ServedHub) -> None:
    with served.hub.database.transaction() as session:
        cache, one, two = (add_device(session).id for _ in range(3))
    made = client.sites.create("warehouse", cache=cache, host="cache.lan", members=[one])
    assert (made.port, made.has_cache, made.created_by) == (8471, True, "ada")
    assert client.sites.show("warehouse") == made
    changed = client.sites.replace("warehouse", cache=cache, host="fd00::7", port=9000, members=[two])
    assert (changed.host, changed.port, changed.members) == ("fd00::7", 9000, [two])
    assert client.sites.list() == [changed]
    assert client.sites.delete("warehouse") == changed
    with pytest.raises(ApiError, match="no site warehouse"):
        client.sites.show("warehouse")
