"""LiteRT keeps every engine's claims, with signatures and without."""

from typing import Literal

import numpy as np
import pytest
from tests.checks.engine import EngineChecks
from tests.fixtures import tiny

from shoal_agent.engines import EngineError
from shoal_contract.manifest import TensorSpec


class TestLiteRtEngine(EngineChecks):
    """The shared claims, and what is LiteRT's alone."""

    file_format: Literal["tflite"] = "tflite"

    def test_an_input_that_the_runtime_refuses_is_an_engine_error(self) -> None:
        with self.engine() as engine, pytest.raises(EngineError, match="LiteRT failed"):
            engine.infer({"x": np.zeros((1, 9), dtype=np.float32)})

    def test_it_answers_again_after_an_input_that_the_runtime_refused(self) -> None:
        with self.engine() as engine:
            with pytest.raises(EngineError):
                engine.infer({"x": np.zeros((1, 9), dtype=np.float32)})
            answer = engine.infer({"x": tiny.GOLDEN})["probabilities"]
        np.testing.assert_allclose(answer, tiny.probabilities(tiny.GOLDEN), atol=1e-6)

    @pytest.mark.parametrize("name", ["unsigned", "trainable"])
    def test_files_without_signatures_and_with_several_serve_alike(self, name: str) -> None:
        with self.engine(name) as engine:
            for batch in (3, 1, 3):
                x = np.random.default_rng(batch).normal(size=(batch, tiny.FEATURES)).astype(np.float32)
                answer = engine.infer({"x": x})["probabilities"]
                np.testing.assert_allclose(answer, tiny.probabilities(x), atol=1e-6)

    def test_a_file_without_signatures_must_still_fit_in_shape(self) -> None:
        spec = TensorSpec(name="x", datatype="FP32", shape=(-1, 5))
        assert "[-1, 5]" in self.refusal(tiny.FILES / "unsigned.tflite", (spec,), tiny.OUTPUTS)

    def test_a_file_without_signatures_must_have_as_many_tensors(self) -> None:
        inputs = (*tiny.INPUTS, *tiny.PAIR_INPUTS)
        assert "expected by the manifest" in self.refusal(tiny.FILES / "unsigned.tflite", inputs, tiny.OUTPUTS)
