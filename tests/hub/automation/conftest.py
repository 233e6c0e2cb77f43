"""A fleet whose inputs drift, once on each engine."""

from pathlib import Path

import pytest
from tests.hub.automation.loops import Loop

from shoal_hub.context import HubContext


@pytest.fixture
def loop(hub: HubContext, tmp_path: Path) -> Loop:
    return Loop(hub, tmp_path)


@pytest.fixture
def sqlite_loop(sqlite_hub: HubContext, tmp_path: Path) -> Loop:
    """On one engine, for tests that are not about the store."""
    return Loop(sqlite_hub, tmp_path)
