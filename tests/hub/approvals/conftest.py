"""A model with two versions that devices could run, and people of every role."""

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient
from tests.hub.operators.conftest import Person, people_at
from tests.simulators.rows import add_device, add_version

from shoal_hub.context import HubContext
from shoal_hub.operators.roles import Role


@pytest.fixture
def person(hub: HubContext) -> Iterator[Person]:
    """People at the API, once on each engine."""
    with hub.database.transaction() as session:
        add_device(session, name="kitchen")
        for number in (1, 2):
            add_version(session, hub.artifacts, number, {"generic-onnx-int8": bytes([number]) * 1000})
    yield from people_at(hub)


@pytest.fixture
def author(person: Person) -> TestClient:
    return person("olga", Role.APPROVER)


@pytest.fixture
def first(person: Person) -> TestClient:
    return person("anna", Role.APPROVER)


@pytest.fixture
def second(person: Person) -> TestClient:
    return person("bert", Role.APPROVER)


@pytest.fixture
def admin(person: Person) -> TestClient:
    return person("root", Role.ADMIN)
