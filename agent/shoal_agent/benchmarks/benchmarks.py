"""The benchmarks that the hub wants of this device: one at a time, when it is idle, each told once.

`<data>/benchmarks/<name>/`: what has been measured, how it ended, and what its processes say. It goes when the hub
wants it no more.
"""

import os
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from logging import getLogger
from pathlib import Path
from typing import Final

import anyio
from anyio import to_thread
from pydantic import BaseModel, ConfigDict, ValidationError

from shoal_agent.benchmarks.errors import BenchmarkError
from shoal_agent.benchmarks.job import Measured, MeasuringJob
from shoal_agent.benchmarks.kept import KeptCandidate, KeptResults
from shoal_agent.benchmarks.room import with_room
from shoal_agent.board import Board
from shoal_agent.board.readings import Readings
from shoal_agent.board.temperatures import hottest_c
from shoal_agent.durable import make_folder, replace_file
from shoal_agent.errors import DiskError
from shoal_agent.fetch import Fetcher
from shoal_agent.hardware import memory_bytes
from shoal_agent.idle_settings import BenchmarkSettings
from shoal_agent.sections import Sections
from shoal_contract.artifact_ref import ArtifactRef
from shoal_contract.benchmarks import BenchmarkCandidate, BenchmarkResult, CandidateMeasured, DesiredBenchmark
from shoal_contract.reported import Problem, Runtime, SectionReport
from shoal_contract.telemetry import EventBody

_log = getLogger(__name__)
PREFIX: Final = "benchmarks/"
_DONE: Final = "done.json"
_REFERENCE: Final = "reference.npz"


class _Done(BaseModel):
    """How a benchmark ended: the hub has been told."""

    model_config = ConfigDict(frozen=True)

    measured: int
    problem: Problem | None = None


@dataclass
class _Account:
    """What has been measured so far."""

    began_s: float
    measured: list[CandidateMeasured] = field(default_factory=list)
    runtimes: dict[Runtime, str] = field(default_factory=dict)
    cores: tuple[int, ...] = ()

    def take(self, candidate: BenchmarkCandidate, kept: KeptCandidate) -> None:
        self.measured.append(kept.measured)
        self.cores = kept.cores or self.cores
        if kept.runtime_version:
            self.runtimes[candidate.runtime] = kept.runtime_version


class Benchmarks:
    """What runs of the sections `benchmarks/<name>`. Belongs to the event loop.

    Args:
        data: The agent's folder.
        fetcher: Brings files and samples.
        board: Says how hot it is.
        report: Takes the report of a section.
        tell: Queues an event for the hub.
        now: Trusted time.
        settings: Bounds, and whether the owner allows it.
        turn: Held while one is measured; whoever else works when the device is idle shares it.
    """

    def __init__(
        self,
        data: Path,
        fetcher: Fetcher,
        board: Board,
        report: Callable[[str, SectionReport], None],
        tell: Callable[[EventBody], None],
        now: Callable[[], datetime],
        settings: BenchmarkSettings,
        turn: anyio.Lock,
    ) -> None:
        self._data = data
        self._fetcher = fetcher
        self._board = board
        self._report = report
        self._tell = tell
        self._now = now
        self._settings = settings
        self._turn = turn

    def follow(self, wanted: dict[str, DesiredBenchmark], sections: Sections) -> None:
        """Set every benchmark on its way, and end those that are not wanted any more."""
        for name, body in wanted.items():
            sections.want(PREFIX + name, body, "", partial(self.converge, name, body))
        known = {key.removeprefix(PREFIX) for key in sections.keys(PREFIX)}
        for name in sorted((known | self._on_disk()) - wanted.keys()):
            sections.want(PREFIX + name, None, "", partial(self._forget, name))

    def artifacts(self, name: str, wanted: DesiredBenchmark) -> set[str]:
        """Return the hashes of the files that a benchmark still needs."""
        if (self._folder(name) / _DONE).exists():
            return set()
        return {wanted.samples_sha256, *(one.sha256 for one in wanted.candidates)}

    async def converge(self, name: str, wanted: DesiredBenchmark) -> str:
        """Measure all candidates once, and tell what came of it.

        Raises:
            FetchError, LinkError: A file is not there yet; try again.
            DiskError: The disk does not take it; try again.
            BenchmarkError: It ended otherwise than done; the hub has been told.
        """
        done = await to_thread.run_sync(_read_done, self._folder(name))
        if done is None:
            result = await self._end(name, wanted)
            done = await self._told(name, result)
        if done.problem is not None:
            raise BenchmarkError(done.problem.message, done.problem.remedy)
        return f"{done.measured} measured"

    async def _end(self, name: str, wanted: DesiredBenchmark) -> BenchmarkResult:
        """Do a benchmark to its end, whatever that is."""
        account = _Account(anyio.current_time())
        try:
            self._check_allowed()
            with anyio.fail_after(max(0.0, (wanted.deadline_at - self._now()).total_seconds())):
                async with self._turn:
                    await self._measure_all(name, wanted, account)
        except TimeoutError:
            late = BenchmarkError(
                f"the benchmark {name}: its deadline {wanted.deadline_at:%Y-%m-%d %H:%M} UTC has passed, with "
                f"{len(account.measured)} of {len(wanted.candidates)} candidates measured",
                "give it longer, or measure when the device has less to do",
            )
            return _result(name, "expired", account, late.to_problem())
        except BenchmarkError as error:
            return _result(name, "failed", account, error.to_problem())
        if all(one.problem is not None for one in account.measured):
            return _result(name, "failed", account, account.measured[0].problem)
        return _result(name, "done", account, None)

    def _check_allowed(self) -> None:
        if not self._settings.is_allowed:
            raise BenchmarkError("the device's owner takes no benchmarks", "measure on another device of the class")

    async def _measure_all(self, name: str, wanted: DesiredBenchmark, account: _Account) -> None:
        samples = await self._fetcher.fetch(ArtifactRef(sha256=wanted.samples_sha256, size_bytes=wanted.samples_bytes))
        results = KeptResults(self._folder(name), wanted)
        for number, candidate in enumerate(wanted.candidates):
            step = f"{candidate.name[:40]}, {number + 1} of {len(wanted.candidates)}"
            self._report(PREFIX + name, SectionReport(state="working", step=step))
            kept = await to_thread.run_sync(results.read, candidate)
            if kept is None or self._lacks_reference(name, wanted, candidate, kept):
                file = await self._fetcher.fetch(ArtifactRef(sha256=candidate.sha256, size_bytes=candidate.size_bytes))
                kept = await self._measure(self._job(name, wanted, candidate, file, samples), results)
            account.take(candidate, kept)

    def _lacks_reference(
        self, name: str, wanted: DesiredBenchmark, candidate: BenchmarkCandidate, kept: KeptCandidate
    ) -> bool:
        """Whether the first candidate was measured, and what it leaves for the others is not there."""
        is_first = candidate == wanted.candidates[0]
        return is_first and kept.measured.problem is None and not (self._folder(name) / _REFERENCE).exists()

    async def _measure(self, job: MeasuringJob, results: KeptResults) -> KeptCandidate:
        """Measure one candidate, and keep what came of it."""
        candidate = job.candidate
        starts = await to_thread.run_sync(results.start, candidate)
        if starts >= self._settings.most_starts:
            late = BenchmarkError(
                f"measuring {candidate.name}: the device or its agent ended {starts} times while it was measured"
            )
            gave_up = CandidateMeasured(name=candidate.name, sha256=candidate.sha256, problem=late.to_problem())
            return await to_thread.run_sync(results.write, candidate, gave_up)
        before, load_before = await to_thread.run_sync(self._board.read), _load()
        found = await self._run(job)
        load_after, after = _load(), await to_thread.run_sync(self._board.read)
        measured = _measured(candidate, found, (before, after), (load_before, load_after))
        return await to_thread.run_sync(results.write, candidate, measured, found.runtime_version, found.cores)

    async def _run(self, job: MeasuringJob) -> Measured:
        """Run the process of one candidate; cancelled, it is killed."""
        path = job.result.with_name("job.json")
        await to_thread.run_sync(_prepare, job, path)
        command = [sys.executable, "-m", "shoal_agent.benchmarks.child", str(path), str(os.getpid())]
        ended = await anyio.run_process(command, check=False, stdout=None, stderr=None)
        return await to_thread.run_sync(_ended, job, ended.returncode)

    def _job(
        self, name: str, wanted: DesiredBenchmark, candidate: BenchmarkCandidate, file: Path, samples: Path
    ) -> MeasuringJob:
        folder = self._folder(name)
        return MeasuringJob(
            data=self._data,
            wanted=wanted,
            candidate=candidate,
            file=file,
            samples=samples,
            reference=folder / _REFERENCE,
            is_first=candidate == wanted.candidates[0],
            result=folder / "result.json",
            max_memory_bytes=self._settings.max_memory_bytes,
            max_data_bytes=int(self._settings.max_memory_share * memory_bytes(self._board.root)) or None,
            max_sample_bytes=self._settings.max_sample_bytes,
            nice=self._settings.nice,
        )

    async def _told(self, name: str, result: BenchmarkResult) -> _Done:
        """Tell how a benchmark ended, then note it: a cut in between tells it twice, and the hub drops one."""
        done = _Done(measured=len(result.measured), problem=result.problem)
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(self._tell, result)
            await to_thread.run_sync(_write_done, self._folder(name), done)
        return done

    async def _forget(self, name: str) -> None:
        await to_thread.run_sync(partial(shutil.rmtree, self._folder(name), ignore_errors=True))

    def _on_disk(self) -> set[str]:
        """Return the benchmarks that have a folder: one that ended while the agent was off is not known otherwise."""
        folder = self._data / "benchmarks"
        return {path.name for path in folder.iterdir()} if folder.is_dir() else set()

    def _folder(self, name: str) -> Path:
        return self._data / "benchmarks" / name


def _result(name: str, outcome: str, account: _Account, problem: Problem | None) -> BenchmarkResult:
    result = BenchmarkResult.model_validate(
        {
            "benchmark": name,
            "outcome": outcome,
            "measured": account.measured,
            "runtimes": account.runtimes,
            "cores": account.cores,
            "duration_s": anyio.current_time() - account.began_s,
            "problem": problem,
        }
    )
    result = with_room(result)
    for one in result.measured:
        if one.operators_problem is not None:
            _log.warning("benchmark %s: %s is told without its operators: %s", name, one.name, one.operators_problem)
    return result


def _measured(
    candidate: BenchmarkCandidate,
    found: Measured,
    readings: tuple[Readings, Readings],
    loads: tuple[float | None, float | None],
) -> CandidateMeasured:
    """Return what the hub is told of a candidate; what was read before its runs comes first."""
    problem = BenchmarkError(found.error, found.remedy or None).to_problem() if found.error else None
    return CandidateMeasured.model_validate(
        {
            "name": candidate.name,
            "sha256": candidate.sha256,
            "hottest_c": hottest_c(readings[1].zones),
            "is_throttled": any(throttle.is_active for one in readings for throttle in one.throttles),
            "load_before": loads[0],
            "load_after": loads[1],
            "problem": problem,
            **found.model_dump(exclude={"error", "remedy", "cores", "runtime_version"}),
        }
    )


def _load() -> float | None:
    """Return the machine's load over the last minute: what else runs here has a part in every figure."""
    try:
        return os.getloadavg()[0]
    except OSError:
        return None


def _prepare(job: MeasuringJob, path: Path) -> None:
    try:
        make_folder(path.parent, mode=0o700)
        replace_file(path, job.model_dump_json().encode())
        job.result.unlink(missing_ok=True)
        if job.is_first:
            job.reference.unlink(missing_ok=True)
    except OSError as error:
        raise DiskError(f"preparing {path}: {error}", "free some disk space") from error


def _ended(job: MeasuringJob, code: int) -> Measured:
    """Return what the process wrote, or how it ended if it wrote nothing."""
    try:
        return Measured.model_validate_json(job.result.read_bytes())
    except (OSError, ValidationError):
        end = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        limits = f"{job.most_bytes >> 20} MiB of memory and {job.wanted.max_seconds:.0f} s of work"
        return Measured(error=f"measuring {job.candidate.name}: its process {end}; its limits are {limits}")


def _read_done(folder: Path) -> _Done | None:
    try:
        return _Done.model_validate_json((folder / _DONE).read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        _log.error("reading %s: %s; the benchmark is done again", folder / _DONE, error)
        return None


def _write_done(folder: Path, done: _Done) -> None:
    try:
        make_folder(folder, mode=0o700)
        replace_file(folder / _DONE, done.model_dump_json().encode())
    except OSError as error:
        raise DiskError(f"noting how the benchmark in {folder} ended: {error}", "free some disk space") from error
