"""Takes part in federated rounds: fetch, train in a child, hand the update to the uploads, tell the result.

A round whose result is in the outbox is never trained again, whatever restarts in between.
"""

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from logging import getLogger
from pathlib import Path

import anyio
from anyio import to_thread
from pydantic import BaseModel, ConfigDict, ValidationError

from shoal_agent.durable import replace_file
from shoal_agent.errors import AgentError, DiskError
from shoal_agent.federated.dataset import Datasets
from shoal_agent.federated.job import TrainingJob, TrainingResult
from shoal_agent.fetch import Fetcher
from shoal_agent.settings import TrainingSettings
from shoal_agent.uploads import Uploads
from shoal_contract.desired import DesiredRound
from shoal_contract.reported import Problem
from shoal_contract.telemetry import RoundResult

_log = getLogger(__name__)
Tell = Callable[[RoundResult], None]


class RoundError(AgentError):
    """This device does not take part in the round; the hub is told why."""

    code = "round"
    default_remedy = "the run goes on without this device; mend the cause before the next run"


class DoneRound(BaseModel):
    """The last round of a run that this device has answered, and why it failed if it did."""

    model_config = ConfigDict(frozen=True)

    round: int
    problem: Problem | None = None


@dataclass(frozen=True)
class Participant:
    """The device's part in federated runs."""

    folder: Path
    fetcher: Fetcher
    datasets: Datasets
    uploads: Uploads
    settings: TrainingSettings
    now: Callable[[], datetime]
    tell: Tell

    async def converge(self, wanted: DesiredRound) -> None:
        """Train the wanted round once and send its update.

        Raises:
            FetchError, LinkError, DiskError: Not yet; try again.
            RoundError: This device does not take part; the hub has been told.
        """
        done = self._done(wanted.run)
        if done is not None and done.round >= wanted.round:
            if done.round == wanted.round and done.problem is not None:
                raise RoundError(done.problem.message, done.problem.remedy)
            return
        try:
            self._check(wanted)
            result = await self._train(wanted)
        except RoundError as error:
            await self._answer(wanted, "refused", TrainingResult(), error.to_problem())
            raise
        if result.error:
            failure = RoundError(f"training round {wanted.round} of {wanted.run}: {result.error}")
            await self._answer(wanted, "failed", result, failure.to_problem().model_copy(update={"code": "training"}))
            raise failure
        await self._answer(wanted, "trained", result, None)

    def artifacts(self, wanted: DesiredRound) -> set[str]:
        """Hashes of the files that the round needs."""
        return {wanted.trainer.sha256, wanted.weights.sha256}

    def _check(self, wanted: DesiredRound) -> None:
        if self.now() >= wanted.deadline_at:
            raise RoundError(f"round {wanted.round} of {wanted.run}: its deadline {wanted.deadline_at} has passed")
        if not self.datasets.path(wanted.dataset).exists():
            message = f"round {wanted.round} of {wanted.run}: this device has no dataset {wanted.dataset!r}"
            raise RoundError(message, f"add one with `shoal-agent data add {wanted.dataset} FILE.npz`")

    async def _train(self, wanted: DesiredRound) -> TrainingResult:
        trainer = await self.fetcher.fetch(wanted.trainer)
        weights = await self.fetcher.fetch(wanted.weights)
        work = self.folder / wanted.run
        job = self._job(wanted, trainer, weights, work)
        await to_thread.run_sync(_prepare, job, work / "job.json")
        command = [sys.executable, "-m", "shoal_agent.federated.child", str(work / "job.json"), str(os.getpid())]
        with anyio.move_on_after((wanted.deadline_at - self.now()).total_seconds()):
            process = await anyio.run_process(command, check=False, stdout=None, stderr=None)
            return _result(job, process.returncode)
        return TrainingResult(error=f"the deadline {wanted.deadline_at} passed while it trained")

    def _job(self, wanted: DesiredRound, trainer: Path, weights: Path, work: Path) -> TrainingJob:
        return TrainingJob(
            trainer=trainer,
            weights=weights,
            dataset=self.datasets.path(wanted.dataset),
            update=work / "update",
            result=work / "result.json",
            epochs=wanted.epochs,
            batch_size=wanted.batch_size,
            learning_rate=wanted.learning_rate,
            seed=wanted.seed,
            update_scheme=wanted.update_scheme,
            max_update_bytes=wanted.max_update_bytes,
            max_examples=self.settings.max_examples,
            max_memory_bytes=self.settings.max_memory_bytes,
            max_cpu_s=self.settings.max_cpu_s,
            nice=self.settings.nice,
        )

    async def _answer(
        self, wanted: DesiredRound, outcome: str, result: TrainingResult, problem: Problem | None
    ) -> None:
        """Queue the result, then note that the round is done: a cut in between repeats it, and the hub drops one."""
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(self._answer_now, wanted, outcome, result, problem)

    def _answer_now(self, wanted: DesiredRound, outcome: str, result: TrainingResult, problem: Problem | None) -> None:
        path = self.folder / wanted.run / "update"
        try:
            update = path.read_bytes() if outcome == "trained" else b""
            answer = RoundResult.model_validate(
                {
                    "run": wanted.run,
                    "round": wanted.round,
                    "outcome": outcome,
                    "update_sha256": self.uploads.add(update) if update else None,
                    "update_bytes": len(update),
                    "problem": problem,
                    **result.model_dump(exclude={"error"}),
                }
            )
            self.tell(answer)
            done = DoneRound(round=wanted.round, problem=problem)
            replace_file(self._done_file(wanted.run), done.model_dump_json(exclude_none=True).encode())
            path.unlink(missing_ok=True)  # the uploads hold it now
        except OSError as error:
            message = f"keeping the result of round {wanted.round} of {wanted.run}: {error}"
            raise DiskError(message, "free some disk space") from error

    def _done(self, run: str) -> DoneRound | None:
        path = self._done_file(run)
        if not path.exists():
            return None
        try:
            return DoneRound.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            # Training once more costs time; the hub takes one result of a device and a round.
            _log.error("federated: %s is damaged, so the round is trained again: %s", path, error)
            return None

    def _done_file(self, run: str) -> Path:
        return self.folder / run / "done.json"


def _prepare(job: TrainingJob, path: Path) -> None:
    """Write the job's file, and take away what an earlier round has left.

    Raises:
        DiskError: The disk does not take it.
    """
    try:
        replace_file(path, job.model_dump_json().encode())
        job.result.unlink(missing_ok=True)
        job.update.unlink(missing_ok=True)
    except OSError as error:
        raise DiskError(f"preparing {path}: {error}", "free some disk space") from error


def _result(job: TrainingJob, code: int) -> TrainingResult:
    """Return what the child wrote, or how it ended if it wrote nothing."""
    try:
        return TrainingResult.model_validate_json(job.result.read_bytes())
    except (OSError, ValidationError):
        end = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        limits = f"{job.max_memory_bytes >> 20} MiB of memory and {job.max_cpu_s} s of CPU time"
        return TrainingResult(error=f"the training process {end} and left no result; its limits are {limits}")
