"""The local engine, in one process and in several."""

from pathlib import Path

import pytest
from tests.checks.inference_engine import Doubling, InferenceEngineChecks, parts, table

from shoal_training.batch_inference.engines.engine import Engine, EngineContext
from shoal_training.batch_inference.engines.local import LocalEngine


class _InOneProcess(LocalEngine):
    has_workers = False


class TestInThisProcess(InferenceEngineChecks):
    """Part after part, here."""

    @pytest.fixture
    def engine(self) -> Engine:
        return _InOneProcess()


@pytest.mark.slow
class TestInProcesses(InferenceEngineChecks):
    """Two at a time, each of which may be lost."""

    @pytest.fixture
    def engine(self) -> Engine:
        return LocalEngine(workers=2, retries=1)


def test_processes_answer_in_the_order_of_parts_and_one_that_is_lost_is_replaced(tmp_path: Path) -> None:
    engine = LocalEngine(workers=2, retries=1)
    found = list(engine.answers(Doubling(tmp_path, 3, "killed", times=1), parts(), EngineContext(table)))
    assert [part.number for part, _ in found] == [part.number for part in parts()]
    assert [answer.table for _, answer in found] == [Doubling(tmp_path)(part, table(part)).table for part in parts()]
