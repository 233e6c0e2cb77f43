"""One real broker for the tests that only talk to it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.simulators.broker import Broker, running_broker


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with running_broker(tmp_path_factory.mktemp("hub")) as running:
        yield running


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[Broker]:
    """A broker that the test may stop and start."""
    with running_broker(tmp_path) as running:
        yield running
