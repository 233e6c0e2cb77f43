"""Accelerators are tried in the order that the board, the build and its owner give."""

import pytest

from shoal_agent.engines.provider_order import litert_accelerators, onnx_accelerators
from shoal_agent.settings import EngineSettings

GPU_BUILD = ("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider")
CPU_BUILD = ("AzureExecutionProvider", "CPUExecutionProvider")


@pytest.mark.parametrize(
    ("build", "has_gpu", "settings", "expected"),
    [
        (GPU_BUILD, True, EngineSettings(), ("tensorrt", "cuda", "cpu")),
        (GPU_BUILD[::-1], True, EngineSettings(), ("tensorrt", "cuda", "cpu")),
        (GPU_BUILD, False, EngineSettings(), ("cpu",)),
        (GPU_BUILD[1:], True, EngineSettings(), ("cuda", "cpu")),
        (CPU_BUILD, True, EngineSettings(), ("cpu",)),
        (GPU_BUILD, True, EngineSettings(without_providers=("tensorrt",)), ("cuda", "cpu")),
        (GPU_BUILD, True, EngineSettings(providers=("cuda",)), ("cuda",)),
        (GPU_BUILD, True, EngineSettings(providers=("cpu", "cuda", "cpu")), ("cpu", "cuda")),
        (CPU_BUILD, False, EngineSettings(providers=("cuda",)), ("cuda",)),
        (GPU_BUILD, True, EngineSettings(providers=("cuda",), without_providers=("cuda",)), ()),
    ],
)
def test_the_order_is_tensorrt_cuda_cpu_unless_the_owner_says_otherwise(
    build: tuple[str, ...], has_gpu: bool, settings: EngineSettings, expected: tuple[str, ...]
) -> None:
    assert onnx_accelerators(build, settings, has_gpu=has_gpu) == expected


def test_delegates_come_before_the_cpu_which_is_always_there() -> None:
    assert litert_accelerators(EngineSettings(delegates=("a.so", "b.so", "a.so"))) == ("a.so", "b.so", "cpu")
    assert litert_accelerators(EngineSettings()) == ("cpu",)
