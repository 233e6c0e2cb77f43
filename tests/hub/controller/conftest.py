"""A hub over a real broker, one a test."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.simulators.broker import running_broker
from tests.simulators.hub_threads import Hub, running_hub


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with running_broker(tmp_path) as broker, running_hub(tmp_path, broker) as running:
        yield running
