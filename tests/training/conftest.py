"""Fixtures of the training tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.training.ray_head import RayHead, running_ray
from tests.training.small_bundle import small_bundle


@pytest.fixture(scope="session")
def bundle_dir(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    return small_bundle(tmp_path_factory, worker_id)


@pytest.fixture(scope="session")
def ray_head() -> Iterator[RayHead]:
    with running_ray() as head:
        yield head


@pytest.fixture
def cluster(ray_head: RayHead, monkeypatch: pytest.MonkeyPatch) -> RayHead:
    """A cluster of Ray that this process is let into."""
    for name, value in ray_head.environment.items():
        monkeypatch.setenv(name, value)
    return ray_head
