"""Callers with every role, at one hub."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from fastapi.testclient import TestClient

from shoal_hub.api import create_app
from shoal_hub.context import HubContext
from shoal_hub.operators.roles import Role
from shoal_hub.operators.tokens import create_operator_token

Person = Callable[..., TestClient]


def people_at(hub: HubContext) -> Iterator[Person]:
    """Give a function that has somebody call the API, as the user of a name and a role."""
    app = create_app(hub)
    with ExitStack() as stack:

        def person(name: str, role: Role = Role.OPERATOR) -> TestClient:
            with hub.database.transaction() as session:
                token = create_operator_token(session, name, role)
            headers = {"Authorization": f"Bearer {token}"}
            return stack.enter_context(TestClient(app, headers=headers, raise_server_exceptions=False))

        yield person


@pytest.fixture
def person(hub: HubContext) -> Iterator[Person]:
    """People at the API, once on each engine."""
    yield from people_at(hub)


@pytest.fixture
def sqlite_person(sqlite_hub: HubContext) -> Iterator[Person]:
    """People at the API, on SQLite."""
    yield from people_at(sqlite_hub)
