"""A Ray of this machine that does not come up is started again; `test_ray_tasks.py` has real ones."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.checks.inference_engine import Doubling, parts, table

from shoal_training.batch_inference.engines import ray_tasks
from shoal_training.batch_inference.engines.engine import EngineContext
from shoal_training.batch_inference.engines.ray_tasks import RayEngine
from shoal_training.launchers.ray_cluster import RayNotStartedError, Share
from shoal_training.launchers.ray_process import STARTS


class Starting:
    """Comes up at the n-th start; notes the folders that it was given, and that it ended."""

    def __init__(self, at: int) -> None:
        self._at, self.folders, self.ended = at, list[str](), 0

    @contextmanager
    def __call__(self, _share: Share, temporary: str) -> Iterator[None]:
        self.folders.append(temporary)
        if len(self.folders) < self._at:
            raise RayNotStartedError("starting Ray on this machine: too slow")
        yield
        assert Path(temporary).is_dir()
        self.ended += 1


@pytest.fixture(autouse=True)
def _no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RayEngine, "_answers", lambda *_: iter(["answers"]))
    monkeypatch.setattr(ray_tasks, "ray_environment", lambda _: {})


def answered(starting: Starting, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    monkeypatch.setattr(ray_tasks, "connected", starting)
    return list(RayEngine().answers(Doubling(Path()), parts(), EngineContext(table)))


def test_a_ray_that_comes_up_at_the_last_start_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    starting = Starting(STARTS)
    assert answered(starting, monkeypatch) == ["answers"]
    assert (len(set(starting.folders)), starting.ended) == (STARTS, 1)
    assert not any(Path(one).exists() for one in starting.folders)


def test_a_ray_that_never_comes_up_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    starting = Starting(STARTS + 1)
    with pytest.raises(RayNotStartedError):
        answered(starting, monkeypatch)
    assert len(starting.folders) == STARTS
