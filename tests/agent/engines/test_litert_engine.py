"""LiteRT keeps every engine's claims, with signatures and without."""

from typing import Literal

import numpy as np
import pytest
from tests.checks.engine import EngineChecks
from tests.fixtures import tiny

from shoal_agent.engines import EngineError, EngineSetup
from shoal_agent.engines.litert_engine import LiteRtEngine
from shoal_agent.hardware import module_of
from shoal_contract.manifest import TensorSpec


class TestLiteRtEngine(EngineChecks):
    """The shared claims, and what is LiteRT's alone."""

    file_format: Literal["tflite"] = "tflite"
    long_runs = ("classify", "unsigned")

    @pytest.mark.parametrize("name", ["classify", "unsigned"])
    @pytest.mark.parametrize("shape", [(1, 9), (1, 3), (4,), (1, 4, 1)])
    def test_an_input_of_another_shape_is_refused_and_the_next_one_answered(
        self, name: str, shape: tuple[int, ...]
    ) -> None:
        open_specs = (TensorSpec(name="x", datatype="FP32", shape=(-1, -1)),)  # the file itself knows better
        for specs in (tiny.INPUTS, open_specs):
            with self.engine(name, specs) as engine:
                with pytest.raises(EngineError, match=r"input 'x' is \[.*\], expected \[-1, 4\]"):
                    engine.infer({"x": np.zeros(shape, dtype=np.float32)})
                answer = engine.infer({"x": tiny.GOLDEN})["probabilities"]
            np.testing.assert_allclose(answer, tiny.probabilities(tiny.GOLDEN), atol=1e-6)

    def test_an_input_that_the_runtime_refuses_is_an_engine_error(self) -> None:
        with self.engine() as engine, pytest.raises(EngineError, match="LiteRT failed"):
            engine.infer({"x": np.zeros((1, tiny.FEATURES), dtype=np.float64)})

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

    def test_more_threads_change_no_answer(self) -> None:
        module = module_of("litert")
        assert module
        engine = LiteRtEngine(tiny.path_of(self.variant()), tiny.INPUTS, tiny.OUTPUTS, EngineSetup(module, threads=2))
        answer = engine.infer({"x": tiny.GOLDEN})["probabilities"]
        np.testing.assert_allclose(answer, tiny.probabilities(tiny.GOLDEN), atol=1e-6)
        engine.close()

    @pytest.mark.parametrize("library", ["libno-such-delegate.so.1", "libc.so.6"])
    def test_a_delegate_that_does_not_load_is_named(self, library: str) -> None:
        module = module_of("litert")
        assert module
        setup = EngineSetup(module, accelerator=library)
        with pytest.raises(EngineError, match=f"the delegate {library} does not load"):
            LiteRtEngine(tiny.path_of(self.variant()), tiny.INPUTS, tiny.OUTPUTS, setup)
