"""ONNX Runtime keeps every engine's claims."""

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from tests.checks.engine import EngineChecks
from tests.fixtures import tiny
from tests.fixtures.hostile_files import EXTERNAL_PATHS, keep_as_onnx, onnx_that_reads

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

    @pytest.mark.parametrize("location", EXTERNAL_PATHS)
    def test_a_model_that_reads_another_file_never_reaches_the_runtime(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, location: str
    ) -> None:
        path = keep_as_onnx(tmp_path, onnx_that_reads(location))
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("onnxruntime.InferenceSession", _never)
        complaint = self.refusal(path, tiny.INPUTS, tiny.OUTPUTS)
        assert "outside of the file" in complaint
        assert location in complaint

    def test_the_runtime_alone_would_have_read_the_file_beside_it(self, tmp_path: Path) -> None:
        """What the check above is for: newer runtimes refuse some paths, none refuses this one."""
        import onnxruntime

        path = keep_as_onnx(tmp_path, onnx_that_reads("weights.bin"))
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        assert bytes(session.run(None, {})[0]) == b"SECRETSECRETSECRET"[:16]


def _never(*_: object, **__: object) -> None:
    pytest.fail("the runtime was given the file")
