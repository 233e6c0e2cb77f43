"""A model with two versions that devices could run, and people of every role."""

from collections.abc import Iterator

import pytest
from tests.hub.operators.conftest import Person, people_at
from tests.simulators.rows import add_device, add_version

from shoal_hub.context import HubContext


@pytest.fixture
def person(hub: HubContext) -> Iterator[Person]:
    """People at the API, once on each engine."""
    with hub.database.transaction() as session:
        add_device(session, name="kitchen")
        for number in (1, 2):
            add_version(session, hub.artifacts, number, {"generic-onnx-int8": bytes([number]) * 1000})
    yield from people_at(hub)
