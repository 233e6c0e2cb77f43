"""The child of a runtime's check, see `runtime_check.try_in_child`; the last argument is the runtime's module.

Imports the runtime and runs a small model that touches its kernels: convolution in float32, products in int8. A build
that this board's processor does not understand ends this process and no other.
"""

import os
import resource
import runpy
import sys
from ctypes import addressof, c_char_p, c_int64, c_size_t, sizeof, string_at
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

INPUT_SHAPE = (2, 8, 8, 3)
"""Of the trial models' input, float32."""
CLASSES = 4


def trial_input() -> NDArray[np.float32]:
    """Return the input that both trial models are run on."""
    count = int(np.prod(INPUT_SHAPE))
    return (np.arange(count) % 7 / 7 - 0.5).reshape(INPUT_SHAPE).astype(np.float32)


def try_runtime(module: str) -> NDArray[Any]:
    """Import a runtime and run the trial model that is for it.

    Returns:
        What it answers, (2, `CLASSES`) float32.
    """
    x = trial_input()
    if module == "onnxruntime":
        ort_api = runpy.run_path(str(Path(__file__).with_name("ort_api.py")))
        api = ort_api["installed_api"]()
        if api is not None:
            return _answer_of(api, ort_api["environment"](api), x)
        session = import_module(module).InferenceSession(str(_file("onnx")), providers=["CPUExecutionProvider"])
        return np.asarray(session.run(None, {"x": x})[0])
    interpreter = import_module(f"{module}.interpreter").Interpreter(model_path=str(_file("tflite")), num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    return np.asarray(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))


def _answer_of(api: Any, environment: int, x: NDArray[np.float32]) -> NDArray[Any]:  # noqa: ANN401 - an OrtApi
    """Run the model over ONNX Runtime's C API; what is made goes with the process."""
    with api.made("SessionOptions") as options:
        session = api.asked("CreateSession", environment, os.fsencode(_file("onnx")), options)
    memory, sizes = api.asked("CreateCpuMemoryInfo", 0, 0), (c_int64 * x.ndim)(*x.shape)
    arguments = (memory, x.ctypes.data, x.nbytes, addressof(sizes), x.ndim, 1)  # 1: float
    tensor, answer = c_size_t(api.asked("CreateTensorWithDataAsOrtValue", *arguments)), c_size_t()
    allocator = api.asked("GetAllocatorWithDefaultOptions")
    names = (c_char_p * 2)(b"x", string_at(api.asked("SessionGetOutputName", session, 0, allocator)))
    inputs = (addressof(names), addressof(tensor), 1)
    outputs = (addressof(names) + sizeof(c_size_t), 1, addressof(answer))
    api.check(api.call.Run(session, None, *inputs, *outputs))
    count = len(x) * CLASSES
    content = string_at(api.asked("GetTensorMutableData", answer.value), count * x.itemsize)
    return np.frombuffer(content, np.float32).reshape(len(x), CLASSES)


def _file(suffix: str) -> Path:
    return Path(__file__).with_name(f"trial.{suffix}")


def main(module: str) -> None:
    """Try a runtime; end with status 1 and a line of text where it can not be imported or answers nonsense."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # it may crash, and a core file would fill a small disk
    try:
        answer = try_runtime(module)
    except Exception as error:  # noqa: BLE001 - runtimes raise what they like; the text is for a person
        sys.exit(f"{type(error).__name__}: {error}")
    if answer.shape != (INPUT_SHAPE[0], CLASSES) or not np.isfinite(answer).all():
        sys.exit(f"its answer to the trial model is {answer.tolist()}")


if __name__ == "__main__":
    main(sys.argv[-1])
