"""Profiles the operators of an ONNX file after it has been timed: the profiler slows a run down.

The hub predicts from it what other files take on this class of devices while none of it is there.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from shoal_agent.benchmarks.samples import is_batched, read_samples
from shoal_agent.engines import EngineSetup
from shoal_agent.engines.onnx_binding import BoundSession
from shoal_agent.engines.onnx_options import OnnxOptions, first_line
from shoal_numerics.errors import ProfileError
from shoal_numerics.operator_profile import KEEP_SHAPES, Events, read_events, read_profile, to_wire

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shoal_agent.batch.pace import Pace
    from shoal_agent.benchmarks.job import Measured, MeasuringJob
    from shoal_contract.operator_profile import OperatorProfile
    from shoal_numerics.tensors import Array

RUNS: Final = 20
MIN_RUNS: Final = 3
"""With fewer, an operator's time is chance."""
WARM_UP_RUNS: Final = 3
MAX_S: Final = 10.0
"""For all of it."""
MAX_SHARE: Final = 0.25
"""Of the time that a candidate may take."""
MAX_EVENT_BYTES: Final = 64 * 1024 * 1024
"""Of what the profiler writes."""
ATTEMPTS: Final = 3
"""Where the agent has requests to answer meanwhile."""


def profile_operators(job: MeasuringJob, measured: Measured, pace: Pace) -> OperatorProfile:
    """Return what each operator of a measured file takes.

    Args:
        job: What was measured.
        measured: What came of it: from it follows for how many runs there is time.
        pace: Says how busy the agent is.

    Raises:
        ProfileError: There is no time for it, the agent had requests to answer, the runtime failed, or its profiler
            tells too much or nothing.
        BenchmarkError, EngineError: The samples or the file do not load.
    """
    runs = runs_within(min(MAX_S, MAX_SHARE * job.wanted.max_seconds), measured)
    samples = read_samples(job.samples, job.wanted.inputs, job.max_sample_bytes)
    request = samples.request(0, 1, is_batched=is_batched(job.wanted.inputs))
    shapes = _events(job, request, 1, keeps_shapes=True)
    for _ in range(ATTEMPTS):
        if pace.load is not None:
            pace.load.share()  # from here on
        timed = _events(job, request, WARM_UP_RUNS + runs)
        if pace.load is None or (pace.load.share() or 0.0) <= pace.max_load:
            return to_wire(*read_profile(timed, shapes, WARM_UP_RUNS))
    msg = f"profiling the operators: the agent had requests to answer in each of {ATTEMPTS} attempts"
    raise ProfileError(msg)


def runs_within(most_s: float, measured: Measured) -> int:
    """Return how many timed runs of a profile there is time for, by what loading and a run took.

    Raises:
        ProfileError: Too few.
    """
    run_s = measured.latency_ms.p50 / 1000 if measured.latency_ms is not None else 0.0
    left_s = most_s - 2 * measured.load_ms / 1000
    runs = RUNS if (RUNS + WARM_UP_RUNS + 1) * run_s <= left_s else int(left_s / run_s) - WARM_UP_RUNS - 1
    if runs < MIN_RUNS:
        taken = f"loading takes {measured.load_ms:.0f} ms and a run {1000 * run_s:.0f} ms"
        msg = f"profiling the operators: {taken}, {most_s:.1f} s may be taken; give candidates more seconds"
        raise ProfileError(msg)
    return runs


def _events(job: MeasuringJob, request: Mapping[str, Array], runs: int, *, keeps_shapes: bool = False) -> Events:
    """Return what the profiler tells of some runs, in a session set up as the one that was timed."""
    opened: list[Any] = []

    def make_session(path: str, options: Any, **settings: Any) -> Any:  # noqa: ANN401 - the runtime has no types
        import onnxruntime as ort

        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "run")
        if keeps_shapes:
            options.add_session_config_entry(*KEEP_SHAPES)
        opened.append(ort.InferenceSession(path, options, **settings))
        return opened[0]

    with tempfile.TemporaryDirectory(dir=job.result.parent) as folder:
        setup = EngineSetup("onnxruntime", threads=job.wanted.threads)
        session = BoundSession(job.file, OnnxOptions(setup, make_session=make_session))
        try:
            for _ in range(runs):
                session.run(request, shrinks=False)
            written = Path(opened[0].end_profiling())
        except Exception as error:  # the runtime's errors share no base class
            msg = f"profiling the operators: ONNX Runtime failed: {first_line(error)}"
            raise ProfileError(msg) from error
        if (size_bytes := written.stat().st_size) > MAX_EVENT_BYTES:
            msg = f"reading the profile of ONNX Runtime: {size_bytes} bytes found, at most {MAX_EVENT_BYTES} are read"
            raise ProfileError(msg)
        return read_events(written.read_bytes())
