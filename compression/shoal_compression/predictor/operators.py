"""The operators that a file runs, as ONNX Runtime's profiler tells them, and how long each took.

What is profiled is the graph as the runtime has optimized it: fused operators count as one. Which operators these are
hardly depends on the device, so that a file that was profiled here can be predicted for another class.
"""

import json
import math
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from pydantic import Field

from shoal_compression.data import Samples
from shoal_compression.errors import SourceError
from shoal_compression.model import Model
from shoal_compression.onnx_session import open_onnx, session_options
from shoal_compression.values import Record

_KERNEL: Final = "_kernel_time"
_PRODUCTS: Final = ("MatMul", "Gemm")
_SIZES: Final = {"float": 4, "float16": 2, "int8": 1, "uint8": 1, "int32": 4, "int64": 8, "bool": 1, "double": 8}
WARM_UP_RUNS: Final = 5
LOW_QUANTILE: Final = 0.1
"""Of a run's times: what else runs on the machine makes a run longer and never shorter."""


class Operator(Record):
    """One node of the optimized graph, with the shapes of one sample."""

    kind: str
    """Of its kernel, such as `MatMul`; of a convolution also what it runs over, such as `QLinearConv/2d depthwise`."""
    datatype: str
    """Of its first input."""
    macs: int = Field(ge=0)
    input_bytes: int = Field(ge=0)
    """Weights included."""
    output_bytes: int = Field(ge=0)
    output_elements: int = Field(ge=0)


class FileProfile(Record):
    """The operators of a file in their order, their times, and the time of a whole run without the profiler."""

    name: str
    operators: tuple[Operator, ...]
    times_us: tuple[float, ...]
    """Of each operator."""
    latency_ms: float = Field(gt=0)


def profile(model: Model, samples: Samples, name: str, runs: int = 50) -> FileProfile:
    """Profile an ONNX file on this machine, in one thread.

    Args:
        model: The file.
        samples: One of them is run.
        name: By which it is told from others.
        runs: That are timed, with the profiler and without.

    Raises:
        SourceError: It is no ONNX file, or does not run.
    """
    if model.form != "onnx":
        raise SourceError(f"profiling {name}: a {model.form} file found, expected onnx; ONNX Runtime alone is profiled")
    feeds = next(samples.feeds(model))
    latency_ms = _latency_ms(model, feeds, runs)
    timed = _by_node(_events(model, feeds, WARM_UP_RUNS + runs))
    # A kernel that has brought its weights into an order of its own does not tell their shapes: another session does.
    shapes = _by_node(_events(model, feeds, 1, prepacks=False))
    if timed.keys() != shapes.keys():
        found = f"{len(timed)} operators found with weights as kernels order them, {len(shapes)} without"
        raise SourceError(f"profiling {name}: {found}; use another version of ONNX Runtime")
    return FileProfile(
        name=name,
        operators=tuple(_operator(shapes[node][0]["args"]) for node in timed),
        times_us=tuple(
            float(np.quantile([row["dur"] for row in rows[WARM_UP_RUNS:]], LOW_QUANTILE)) for rows in timed.values()
        ),
        latency_ms=latency_ms,
    )


def quietest(profiles: Sequence[FileProfile]) -> FileProfile:
    """Return the shortest times of several profiles of one file, taken at different moments of a shared machine."""
    times = np.min([one.times_us for one in profiles], axis=0)
    latency_ms = min(one.latency_ms for one in profiles)
    return profiles[0].model_copy(update={"times_us": tuple(map(float, times)), "latency_ms": latency_ms})


def _by_node(events: Sequence[dict[str, Any]]) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Return the events of each node, in the order in which nodes run."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for one in events:
        found.setdefault((one["args"]["node_index"], one["name"]), []).append(one)
    return found


def _session(model: Model, folder: str = "", *, prepacks: bool = True) -> Any:  # noqa: ANN401 - of ONNX Runtime
    options = session_options()
    if not prepacks:
        options.add_session_config_entry("session.disable_prepacking", "1")
    if folder:
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "run")
    return open_onnx(model.content, options)


def _latency_ms(model: Model, feeds: dict[str, Any], runs: int) -> float:
    session, times = _session(model), []
    for _ in range(WARM_UP_RUNS + runs):
        began = time.perf_counter()
        session.run(None, feeds)
        times.append(time.perf_counter() - began)
    return 1000 * float(np.quantile(times[WARM_UP_RUNS:], LOW_QUANTILE))


def _events(model: Model, feeds: dict[str, Any], runs: int, *, prepacks: bool = True) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        session = _session(model, folder, prepacks=prepacks)
        for _ in range(runs):
            session.run(None, feeds)
        found = json.loads(Path(session.end_profiling()).read_text())
    return [one for one in found if one.get("cat") == "Node" and one["name"].endswith(_KERNEL)]


def _operator(told: dict[str, Any]) -> Operator:
    inputs, outputs = _tensors(told["input_type_shape"]), _tensors(told["output_type_shape"])
    kind, shapes = told["op_name"], [shape for _, shape in inputs]
    macs, form = _macs(kind, shapes, outputs[0][1] if outputs else ())
    return Operator(
        kind=f"{kind}/{form}" if form else kind,
        datatype=inputs[0][0] if inputs else "",
        macs=macs,
        input_bytes=sum(map(_bytes_of, inputs)),
        output_bytes=sum(map(_bytes_of, outputs)),
        output_elements=sum(math.prod(shape) for _, shape in outputs),
    )


def _tensors(told: Sequence[dict[str, Sequence[int]]]) -> list[tuple[str, tuple[int, ...]]]:
    return [(kind, tuple(map(int, shape))) for one in told for kind, shape in one.items()]


def _bytes_of(tensor: tuple[str, tuple[int, ...]]) -> int:
    return _SIZES.get(tensor[0], 4) * math.prod(tensor[1])


def _macs(kind: str, shapes: Sequence[tuple[int, ...]], made: tuple[int, ...]) -> tuple[int, str]:
    """Return the multiplications with addition, and what a convolution runs over; its kernels differ by that."""
    weight_place = 3 if kind.startswith(("QLinear", "QGemm")) else 1
    if len(shapes) <= weight_place or not (weight := shapes[weight_place]):
        return 0, ""
    if "Conv" in kind:
        places = weight[2:]
        is_depthwise = len(weight) > 1 and weight[1] == 1 < weight[0]
        form = "depthwise" if is_depthwise else "pointwise" if math.prod(places) == 1 else "dense"
        return math.prod(made) * math.prod(weight[1:]), f"{len(places)}d {form}"
    if any(one in kind for one in _PRODUCTS):
        return math.prod(made) * shapes[0][-1], ""
    return 0, ""
