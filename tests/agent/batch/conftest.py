"""A device that serves the tiny model, for jobs that only read its folder."""

from pathlib import Path

import pytest
from tests.agent.batch.jobs import deploy


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return deploy(tmp_path_factory.mktemp("device"))
