"""The client's captures, against a real hub over HTTPS."""

import io
from collections.abc import Iterator

import numpy as np
import pytest
from tests.hub.captures.samples import X, add_capture
from tests.hub.served import ServedHub, served_hub
from tests.simulators.rows import add_device, add_version

from shoal_client import ApiError, ShoalClient


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedHub]:
    with served_hub(tmp_path_factory.mktemp("hub")) as hub:
        yield hub


@pytest.fixture
def client(served: ServedHub) -> Iterator[ShoalClient]:
    with ShoalClient(served.url, served.token, served.ca_path) as opened:
        yield opened


def test_samples_are_asked_for_listed_fetched_and_deleted(client: ShoalClient, served: ServedHub) -> None:
    with served.hub.database.transaction() as session:
        device = add_device(session).id
        add_version(session, served.hub.artifacts, 1, {})
        ids = {
            add_capture(session, served.hub.artifacts, device, name=f"177236640000{n}-0a1b2c3d").id for n in range(3)
        }
    asked = client.captures.want("digits", reasons=["class"], max_samples_per_day=5, after_s=0)
    assert client.captures.wanted() == [asked]
    assert (asked.group, asked.reasons, asked.max_bytes_per_day) == (None, ["class"], 10_000_000)
    assert {one.id for one in client.captures.all(model="digits", version=1, device_id=device)} == ids
    [newest] = client.captures.list(limit=1)
    assert client.captures.show(newest.id) == newest
    assert np.load(io.BytesIO(client.captures.fetch(newest.id)))["x"] == X
    assert client.captures.delete(newest.id) == newest
    with pytest.raises(ApiError, match="no captured sample"):
        client.captures.fetch(newest.id)
    assert client.captures.delete_all("digits") == 2
    assert client.captures.unwant("digits").model == "digits"
    assert client.captures.wanted() == []
