"""Runners and measurements."""

import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from shoal_compression.errors import TechniqueError
from shoal_compression.evaluate import accuracy, latencies
from shoal_compression.runners import Runner, load_runner
from shoal_compression.source import ONNX_FILE
from shoal_contract.reported import Runtime

Array = npt.NDArray[np.float32]


def _answer(x: Array) -> Array:
    return np.eye(3, dtype=np.float32)[x[:, 0].astype(int)]


def test_accuracy_is_the_share_of_right_labels() -> None:
    x = np.array([[0], [1], [2], [2]], np.float32)
    assert accuracy(_answer, x, np.array([0, 1, 2, 0], np.int32)) == 0.75


def test_the_slower_runner_has_the_higher_latency_in_ms() -> None:
    def slow(x: Array) -> Array:
        until = time.perf_counter() + 0.002
        while time.perf_counter() < until:
            pass
        return x

    found = latencies({"slow": slow, "fast": lambda x: x}, np.zeros((2, 1), np.float32), 3, 10)
    assert 2.0 <= found["slow"].p50 <= found["slow"].p95
    assert found["fast"].p50 < found["slow"].p50


def test_runners_take_turns_with_one_sample_each() -> None:
    calls: list[tuple[str, int]] = []

    def noting(name: str) -> Runner:
        def run(x: Array) -> Array:
            calls.append((name, len(x)))
            return x

        return run

    latencies({"a": noting("a"), "b": noting("b")}, np.zeros((5, 1), np.float32), 1, 6)
    assert calls[-12:] == [("a", 1), ("b", 1)] * 6


@pytest.mark.parametrize("runtime", ["onnxruntime", "litert"])
@pytest.mark.parametrize("content", [b"", b"not a model", b"\x1c\0\0\0TFL3" + b"\0" * 64])
def test_a_file_that_is_no_model_is_refused(tmp_path: Path, runtime: Runtime, content: bytes) -> None:
    (tmp_path / "model").write_bytes(content)
    with pytest.raises(TechniqueError, match=f"by {runtime}"):
        load_runner(runtime, tmp_path / "model", "image", "probabilities")


def test_a_model_with_other_names_is_refused(bundle_dir: Path) -> None:
    with pytest.raises(TechniqueError, match="expected an input 'picture'"):
        load_runner("onnxruntime", bundle_dir / ONNX_FILE, "picture", "probabilities")
