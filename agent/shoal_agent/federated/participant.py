"""Takes part in federated rounds: fetch, train in a child, hand the update to the uploads, tell the result.

A round whose result is in the outbox is never trained again, whatever restarts in between.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from logging import getLogger
from pathlib import Path

import anyio
from pydantic import ValidationError

from shoal_agent.blobs import BlobStore
from shoal_agent.durable import replace_file
from shoal_agent.errors import AgentError
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


@dataclass(frozen=True)
class Participant:
    """The device's part in federated runs."""

    folder: Path
    blobs: BlobStore
    fetcher: Fetcher
    datasets: Datasets
    uploads: Uploads
    settings: TrainingSettings
    now: Callable[[], datetime]
    tell: Tell

    async def converge(self, wanted: DesiredRound) -> None:
        """Train the wanted round once and send its update.

        Raises:
            FetchError, DiskError: Not yet; try again.
            RoundError: This device does not take part; the hub has been told.
        """
        if self._is_done(wanted):
            return
        try:
            self._check(wanted)
            result = await self._train(wanted)
        except RoundError as error:
            self._tell(wanted, "refused", TrainingResult(), error.to_problem())
            raise
        if result.error:
            problem = Problem(code="training", message=result.error[:1024], remedy=RoundError.default_remedy)
            self._tell(wanted, "failed", result, problem)
            raise RoundError(f"training round {wanted.round} of {wanted.run}: {result.error}")
        self._tell(wanted, "trained", result, None)

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
        replace_file(work / "job.json", job.model_dump_json().encode())
        job.result.unlink(missing_ok=True)
        command = [sys.executable, "-m", "shoal_agent.federated.child", str(work / "job.json")]
        process = await anyio.run_process(command, check=False, stdout=None, stderr=None)
        try:
            return TrainingResult.model_validate_json(job.result.read_bytes())
        except (OSError, ValidationError):
            return TrainingResult(error=f"the training process ended with code {process.returncode} and no result")

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

    def _tell(self, wanted: DesiredRound, outcome: str, result: TrainingResult, problem: Problem | None) -> None:
        """Queue the result, then note that the round is done: a cut in between repeats it, and the hub drops one."""
        update = (self.folder / wanted.run / "update").read_bytes() if outcome == "trained" else b""
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
        replace_file(self._done_file(wanted.run), str(wanted.round).encode())

    def _is_done(self, wanted: DesiredRound) -> bool:
        path = self._done_file(wanted.run)
        return path.exists() and int(path.read_text()) >= wanted.round

    def _done_file(self, run: str) -> Path:
        return self.folder / run / "done"
