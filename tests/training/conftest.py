"""Fixtures of the training tests."""

from pathlib import Path

import pytest
from tests.training.small_bundle import small_bundle


@pytest.fixture(scope="session")
def bundle_dir(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    return small_bundle(tmp_path_factory, worker_id)
