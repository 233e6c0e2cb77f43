"""A hub with a model, rows, and an operator who has them answered."""

from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from tests.hub.batch_inference.nightly import Nightly

from shoal_hub.context import HubContext


@pytest.fixture
def nightly(hub: HubContext, client: TestClient, tmp_path: Path) -> Nightly:
    """Once on each engine."""
    return Nightly(hub, client, tmp_path / "made")


@pytest.fixture
def sqlite_nightly(sqlite_hub: HubContext, sqlite_client: TestClient, tmp_path: Path) -> Nightly:
    """On one engine, for tests that are not about the store."""
    return Nightly(sqlite_hub, sqlite_client, tmp_path / "made")
