"""The local engine, in one process and in several."""

import pytest
from tests.checks.inference_engine import InferenceEngineChecks

from shoal_training.batch_inference.engines.engine import Engine
from shoal_training.batch_inference.engines.local import LocalEngine


class _InOneProcess(LocalEngine):
    has_workers = False


class TestInThisProcess(InferenceEngineChecks):
    """Part after part, here."""

    @pytest.fixture
    def engine(self) -> Engine:
        return _InOneProcess()


class TestInProcesses(InferenceEngineChecks):
    """Two at a time, each of which may be lost."""

    @pytest.fixture
    def engine(self) -> Engine:
        return LocalEngine(workers=2, retries=1)
