"""Profiles ONNX files on this machine: their operators by ONNX Runtime's profiler, and how long each took.

Which operators a file runs hardly depends on the device, so that a file that was seen here can be predicted for another
class. What does depend on it is the layout of convolutions, see `describe`.
"""

import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from pydantic import Field

from shoal_compression.data import Samples
from shoal_compression.errors import SourceError
from shoal_compression.model import Model
from shoal_compression.values import Record
from shoal_numerics.errors import ProfileError
from shoal_numerics.operator_profile import (
    KEEP_SHAPES,
    LOW_QUANTILE,
    Events,
    Operator,
    operators_of,
    read_events,
    read_profile,
)
from shoal_numerics.tensors import Array

WARM_UP_RUNS: Final = 5
_BLOCKING: Final = "NchwcTransformer"
_BLOCKED: Final = ("ReorderInput", "ReorderOutput")


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
    latency_ms = _latency_ms(model.content, feeds, runs)
    try:
        timed = _events(model.content, feeds, WARM_UP_RUNS + runs)
        operators, times_us = read_profile(timed, _events(model.content, feeds, 1, prepacks=False), WARM_UP_RUNS)
    except ProfileError as error:
        raise SourceError(f"profiling {name}: {error}") from error
    return FileProfile(name=name, operators=operators, times_us=times_us, latency_ms=latency_ms)


def describe(content: bytes, feeds: Mapping[str, Array], *, is_blocked: bool) -> tuple[Operator, ...]:
    """Return the operators that an ONNX file runs on a processor of one of two sorts; this machine may be of either.

    On x86 the runtime runs float convolutions in blocks of channels (NCHWc), with reorders before and after; where it
    has no such kernels, as on most ARM boards, the same convolutions are fused with what follows them, and have other
    names. All else is optimized alike: less optimization here would hide what int8 runs channels last on both.

    Args:
        content: The file.
        feeds: One request.
        is_blocked: Whether its processor runs convolutions in blocks, see `is_blocked`.

    Raises:
        SourceError: It does not load or run, or the profiler tells nothing of it.
    """
    try:
        return operators_of(_events(content, feeds, 1, prepacks=False, disabled=() if is_blocked else (_BLOCKING,)))
    except ProfileError as error:
        raise SourceError(f"finding the operators of a file: {error}") from error
    except Exception as error:  # the runtime's errors share no base class
        raise SourceError(f"finding the operators of a file: ONNX Runtime does not run it: {error}") from error


def is_blocked(profiles: Sequence[FileProfile]) -> bool:
    """Whether the device that was profiled runs convolutions in blocks of channels."""
    return any(one.kind in _BLOCKED for file in profiles for one in file.operators)


def quietest(profiles: Sequence[FileProfile]) -> FileProfile:
    """Return the shortest times of several profiles of one file, taken at different moments of a shared machine."""
    times = np.min([one.times_us for one in profiles], axis=0)
    latency_ms = min(one.latency_ms for one in profiles)
    return profiles[0].model_copy(update={"times_us": tuple(map(float, times)), "latency_ms": latency_ms})


def _session(content: bytes, options: Any, disabled: Sequence[str] = ()) -> Any:  # noqa: ANN401 - of ONNX Runtime
    import onnxruntime as ort

    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    providers = ["CPUExecutionProvider"]
    return ort.InferenceSession(content, options, providers=providers, disabled_optimizers=[*disabled])


def _latency_ms(content: bytes, feeds: Mapping[str, Array], runs: int) -> float:
    import onnxruntime as ort

    session, times = _session(content, ort.SessionOptions()), []
    for _ in range(WARM_UP_RUNS + runs):
        began = time.perf_counter()
        session.run(None, feeds)
        times.append(time.perf_counter() - began)
    return 1000 * float(np.quantile(times[WARM_UP_RUNS:], LOW_QUANTILE))


def _events(
    content: bytes, feeds: Mapping[str, Array], runs: int, *, prepacks: bool = True, disabled: Sequence[str] = ()
) -> Events:
    import onnxruntime as ort

    options = ort.SessionOptions()
    if not prepacks:
        options.add_session_config_entry(*KEEP_SHAPES)
    with tempfile.TemporaryDirectory() as folder:
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "run")
        session = _session(content, options, disabled)
        for _ in range(runs):
            session.run(None, feeds)
        return read_events(Path(session.end_profiling()).read_bytes())
