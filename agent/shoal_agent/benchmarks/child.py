"""The process that measures one candidate: `python -m shoal_agent.benchmarks.child JOB.json PARENT`, with limits.

A file that crashes its runtime, or asks for an instruction that the processor does not have, ends this process alone.
What was measured is written before its operators are profiled: a profile that fails costs nothing else.
"""

import os
import resource
import sys
import threading
from datetime import datetime, timezone
from pathlib import Path
from typing import Final

from shoal_agent.batch.pace import AgentLoad, Pace
from shoal_agent.benchmarks.answers import agreed_with, kept_answers, paired_with
from shoal_agent.benchmarks.errors import BenchmarkError
from shoal_agent.benchmarks.job import Measured, MeasuringJob
from shoal_agent.benchmarks.measure import Stopwatch, answers_of, time_runs
from shoal_agent.benchmarks.profile import profile_operators
from shoal_agent.benchmarks.samples import read_samples
from shoal_agent.child_process import bound, end_first, end_with
from shoal_agent.durable import replace_file
from shoal_agent.engines import Engine, EngineError, EngineSetup
from shoal_agent.engines.cost import release_free_memory
from shoal_agent.engines.onnx_options import first_line
from shoal_agent.engines.runtime_check import version_of
from shoal_agent.engines.runtime_trial import try_runtime
from shoal_agent.errors import AgentError
from shoal_agent.hardware import module_of
from shoal_agent.local_endpoint import ask, endpoint_of
from shoal_agent.telemetry import resident_bytes
from shoal_contract.formats import RUNTIME_LIMITS, FormatError, check_device_file
from shoal_contract.reported import RUNTIME_FORMATS
from shoal_numerics.errors import ProfileError

_LOOK_S: Final = 0.5
_PROFILED: Final = "onnxruntime"
_UNFINISHED: Final = "the process ended while its operators were profiled"


def measure(job: MeasuringJob, cores: tuple[int, ...]) -> Measured:
    """Measure a candidate.

    Raises:
        BenchmarkError: Samples or file are none that can be measured here.
        EngineError: The file does not load or does not run.
    """
    wanted = job.wanted
    samples = read_samples(job.samples, wanted.inputs, job.max_sample_bytes)
    module = _runtime_of(job)
    try_runtime(module)  # what the runtime itself takes is no part of the model's memory
    pace = _pace(job)
    pace.rest(lambda _reason: None)
    watch = Stopwatch(pace, wanted.max_seconds)
    first = None if job.is_first else kept_answers(job.reference)
    release_free_memory()
    before_bytes, began_s = resident_bytes(), watch.clock_s()
    engine = _open(job, module)
    load_ms = (watch.clock_s() - began_s) * 1000
    try:
        engine.infer(samples.request(0, 1, is_batched=wanted.inputs[0].shape[:1] == (-1,)))
        release_free_memory()
        memory_bytes = max(0, resident_bytes() - before_bytes)
        answers = answers_of(engine, wanted, samples, watch, None if first is None else first.cut)
        latency_ms, disturbed = time_runs(engine, wanted, samples, watch)
    finally:
        engine.close()
    if job.is_first:
        answers.keep(job.reference)
        first = answers
    return Measured(
        latency_ms=latency_ms,
        load_ms=load_ms,
        memory_bytes=memory_bytes,
        samples=len(answers),
        agreed=None if first is None else agreed_with(first, answers),
        right=None if answers.right is None else int(answers.right.sum()),
        paired=None if first is None else paired_with(first, answers),
        disturbed=disturbed,
        cores=cores,
        runtime_version=version_of(module)[:64],
    )


def profiled(job: MeasuringJob, measured: Measured) -> Measured:
    """Return what was measured, with the operators of the file or with why there are none."""
    try:
        operators = profile_operators(job, measured, _pace(job))
    except (ProfileError, AgentError, OSError, MemoryError) as error:
        return measured.model_copy(update={"operators_problem": first_line(error)})
    return measured.model_copy(update={"operators": operators, "operators_problem": None})


def _runtime_of(job: MeasuringJob) -> str:
    candidate, doing = job.candidate, f"loading {job.candidate.name}"
    module = module_of(candidate.runtime)
    if module is None:
        raise BenchmarkError(f"{doing}: the runtime {candidate.runtime} is not installed here", "install its extra")
    try:
        check_device_file(job.file.read_bytes(), RUNTIME_FORMATS[candidate.runtime], RUNTIME_LIMITS)
    except (FormatError, OSError) as error:
        raise BenchmarkError(f"{doing}: {error}") from error
    return module


def _open(job: MeasuringJob, module: str) -> Engine:
    setup = EngineSetup(module, threads=job.wanted.threads)
    if job.candidate.runtime == "litert":
        from shoal_agent.engines.litert_engine import LiteRtEngine

        return LiteRtEngine(job.file, job.wanted.inputs, job.wanted.outputs, setup)
    from shoal_agent.engines.onnx_engine import OnnxEngine
    from shoal_agent.engines.onnx_options import OnnxOptions

    return OnnxEngine(job.file, job.wanted.inputs, job.wanted.outputs, OnnxOptions(setup))


def _pace(job: MeasuringJob) -> Pace:
    """Return what lets the process work while the agent has little to do."""
    load = None
    if job.wanted.max_load is not None:
        load = AgentLoad(lambda: ask(endpoint_of(job.data), "GET", "/v2/models/stats"))
    return Pace(
        stop=threading.Event(),
        local_now=lambda: datetime.now(timezone.utc),
        load=load,
        max_load=job.wanted.max_load or 0.0,
        check_s=_LOOK_S,
    )


def pin(threads: int) -> tuple[int, ...]:
    """Have this process run on as many cores as it has threads, the last ones: the first has the interrupts."""
    if not hasattr(os, "sched_setaffinity"):
        return ()
    chosen = sorted(os.sched_getaffinity(0))[-threads:]
    os.sched_setaffinity(0, chosen)
    return tuple(chosen)


def _limit(job: MeasuringJob) -> None:
    """Bound this process before anything from the network is read."""
    os.nice(job.nice)
    # A run that never ends: the work is bounded by the watch, this bounds what does not look at it.
    bound(resource.RLIMIT_CPU, int(3 * job.wanted.max_seconds * job.wanted.threads) + 60)
    bound(resource.RLIMIT_AS, job.max_memory_bytes)
    if job.max_data_bytes is not None:
        bound(resource.RLIMIT_DATA, job.max_data_bytes)
    end_first()
    bound(resource.RLIMIT_CORE, 0)


def main(job_path: Path, parent_pid: int) -> None:
    """Measure as the job file says and write the result file."""
    end_with(parent_pid)
    job = MeasuringJob.model_validate_json(job_path.read_bytes())
    _limit(job)
    try:
        measured = measure(job, pin(job.wanted.threads))
    except (BenchmarkError, EngineError) as error:
        measured = Measured(error=str(error)[:1000], remedy=error.remedy)
    except AgentError as error:
        measured = Measured(error=f"measuring {job.candidate.name}: {error}"[:1000], remedy=error.remedy)
    except MemoryError:
        measured = Measured(
            error=f"measuring {job.candidate.name}: it takes more than {job.most_bytes >> 20} MiB",
            remedy="measure on a larger device, or a smaller file",
        )
    is_profiled = measured.latency_ms is not None and job.candidate.runtime == _PROFILED
    if is_profiled:
        measured = measured.model_copy(update={"operators_problem": _UNFINISHED})
    replace_file(job.result, measured.model_dump_json().encode())
    if is_profiled:
        replace_file(job.result, profiled(job, measured).model_dump_json().encode())


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
