"""ONNX Runtime keeps every engine's claims."""

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from tests.checks.engine import EngineChecks
from tests.fixtures import tiny
from tests.fixtures.hostile_files import EXTERNAL_PATHS, keep_as_onnx, onnx_that_reads

from shoal_agent.engines import (
    EngineError,
    EngineSetup,
    GoldenMismatchError,
    bytes_array,
    load_engine,
    run_golden,
    to_tensor_data,
)
from shoal_agent.engines.onnx_engine import OnnxEngine
from shoal_agent.engines.onnx_options import OnnxOptions


class TestOnnxEngine(EngineChecks):
    """The shared claims, and what is ONNX Runtime's alone, over its C API."""

    file_format: Literal["onnx"] = "onnx"

    def test_an_input_that_the_runtime_refuses_is_an_engine_error(self) -> None:
        with self.engine() as engine, pytest.raises(EngineError, match="ONNX Runtime failed"):
            engine.infer({"x": np.zeros((1, 9), dtype=np.float32)})

    def test_a_variant_of_a_runtime_that_runs_another_format_is_refused(self) -> None:
        variant = tiny.onnx_variant(runtime="litert")
        with pytest.raises(EngineError, match="which runs tflite"):
            load_engine(tiny.path_of(variant), variant, tiny.INPUTS, tiny.OUTPUTS)

    @pytest.mark.parametrize("location", EXTERNAL_PATHS)
    def test_a_model_that_reads_another_file_never_reaches_the_runtime(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, location: str
    ) -> None:
        path = keep_as_onnx(tmp_path, onnx_that_reads(location))
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("shoal_agent.engines.onnx_engine.open_session", _never)
        complaint = self.refusal(path, tiny.INPUTS, tiny.OUTPUTS)
        assert "outside of the file" in complaint
        assert location in complaint

    def test_the_runtime_alone_would_have_read_the_file_beside_it(self, tmp_path: Path) -> None:
        """What the check above is for: newer runtimes refuse some paths, none refuses this one."""
        import onnxruntime

        path = keep_as_onnx(tmp_path, onnx_that_reads("weights.bin"))
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        assert bytes(session.run(None, {})[0]) == b"SECRETSECRETSECRET"[:16]

    def test_strings_come_back_as_bytes_in_their_shape(self) -> None:
        names = bytes_array([b"Uri", "Zoé".encode(), b"", b"\0x"]).reshape(2, 2)
        with self.engine("greet", tiny.GREET_INPUTS, tiny.GREET_OUTPUTS) as engine:
            greeted = engine.infer({"name": names})["greeted"]
        assert greeted.dtype == np.object_
        assert greeted.tolist() == tiny.greetings(names).tolist()

    def test_no_strings_at_all_are_an_answer_of_their_shape(self) -> None:
        with self.engine("greet", tiny.GREET_INPUTS, tiny.GREET_OUTPUTS) as engine:
            assert engine.infer({"name": np.empty((0, 2), dtype=np.object_)})["greeted"].shape == (0, 2)

    def test_an_element_that_is_no_text_is_an_engine_error(self) -> None:
        names = bytes_array([b"fine", b"\xff\xfe"]).reshape(1, 2)
        with (
            self.engine("greet", tiny.GREET_INPUTS, tiny.GREET_OUTPUTS) as engine,
            pytest.raises(EngineError, match="UTF-8"),
        ):
            engine.infer({"name": names})

    @pytest.mark.parametrize("expected", [b"right", b"wrong"])
    def test_strings_are_compared_with_the_golden_output(self, expected: bytes) -> None:
        names = bytes_array([b"a", b"b"]).reshape(1, 2)
        answers = tiny.greetings(names)
        if expected == b"wrong":
            answers[0, 1] += b"!"
        variant = tiny.onnx_variant("greet", golden_outputs={"greeted": to_tensor_data(answers)})
        manifest = tiny.tiny_manifest().model_copy(update={"golden_inputs": {"name": to_tensor_data(names)}})
        with self.engine("greet", tiny.GREET_INPUTS, tiny.GREET_OUTPUTS) as engine:
            if expected == b"right":
                assert run_golden(engine, manifest, variant) == 0
            else:
                with pytest.raises(GoldenMismatchError, match="'greeted' differs by inf"):
                    run_golden(engine, manifest, variant)

    @pytest.mark.parametrize(
        "setup", [EngineSetup("onnxruntime", threads=2), EngineSetup("onnxruntime", has_arena=True)]
    )
    def test_threads_and_an_arena_change_no_answer(self, setup: EngineSetup) -> None:
        engine = OnnxEngine(tiny.path_of(self.variant()), tiny.INPUTS, tiny.OUTPUTS, OnnxOptions(setup))
        for size in (2, 64, 1, 2):  # larger than the first one gives its memory back
            x = np.random.default_rng(size).normal(size=(size, tiny.FEATURES)).astype(np.float32)
            np.testing.assert_allclose(engine.infer({"x": x})["probabilities"], tiny.probabilities(x), atol=1e-6)
        engine.close()

    @pytest.mark.filterwarnings("ignore:Specified provider")  # the runtime warns, and goes on without it
    def test_a_provider_that_this_build_lacks_is_no_silent_fall_back_to_another(self) -> None:
        setup = EngineSetup("onnxruntime", accelerator="cuda")
        with pytest.raises(EngineError, match="not on CUDAExecutionProvider"):
            OnnxEngine(tiny.path_of(self.variant()), tiny.INPUTS, tiny.OUTPUTS, OnnxOptions(setup))


class TestOnnxEngineOverTheBinding(TestOnnxEngine):
    """The same where the library is missing."""

    @pytest.fixture(autouse=True)
    def _without_library(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("shoal_agent.engines.onnx_session.installed_api", lambda: None)


def _never(*_: object, **__: object) -> None:
    pytest.fail("the runtime was given the file")
