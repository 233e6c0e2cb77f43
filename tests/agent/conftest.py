"""Async tests run on asyncio alone: the agent's MQTT thread hands over to its loop."""

import pytest


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"
