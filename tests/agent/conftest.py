"""What the agent's tests share. Async ones run on asyncio alone: the agent's MQTT thread hands over to its loop."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.agent.simulators.https_hub import Authority, HttpsHub, https_hub


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def hub(tmp_path: Path, authority: Authority) -> Iterator[HttpsHub]:
    """A hub's enrolment and renewal over HTTPS; tests over a broker have a stand-in of their own by this name."""
    with https_hub(tmp_path, authority) as serving:
        yield serving
