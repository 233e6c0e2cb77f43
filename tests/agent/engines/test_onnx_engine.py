"""ONNX Runtime keeps every engine's claims."""

from typing import Literal

import numpy as np
import pytest
from tests.checks.engine import EngineChecks
from tests.fixtures import tiny

from shoal_agent.engines import EngineError, load_engine


class TestOnnxEngine(EngineChecks):
    """The shared claims, and what is ONNX Runtime's alone."""

    file_format: Literal["onnx"] = "onnx"

    def test_an_input_that_the_runtime_refuses_is_an_engine_error(self) -> None:
        with self.engine() as engine, pytest.raises(EngineError, match="ONNX Runtime failed"):
            engine.infer({"x": np.zeros((1, 9), dtype=np.float32)})

    def test_a_variant_of_a_runtime_that_runs_another_format_is_refused(self) -> None:
        variant = tiny.onnx_variant(runtime="litert")
        with pytest.raises(EngineError, match="which runs tflite"):
            load_engine(tiny.path_of(variant), variant, tiny.INPUTS, tiny.OUTPUTS)
