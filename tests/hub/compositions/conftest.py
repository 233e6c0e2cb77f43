"""A fleet that compositions are assigned to, once on each engine."""

import pytest
from fastapi.testclient import TestClient
from tests.hub.compositions.fleet import Fleet

from shoal_hub.context import HubContext


@pytest.fixture
def fleet(hub: HubContext, client: TestClient) -> Fleet:
    return Fleet(hub, client)


@pytest.fixture
def sqlite_fleet(sqlite_hub: HubContext, sqlite_client: TestClient) -> Fleet:
    """On one engine, for tests that are not about the store."""
    return Fleet(sqlite_hub, sqlite_client)
