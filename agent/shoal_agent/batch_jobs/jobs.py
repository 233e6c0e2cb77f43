"""The batch jobs that the hub wants of this device: one at a time, each a section of its own, over restarts.

`<data>/batches/<name>/`: the answers, the rows without one, the job's journal, and how it ended. When the hub wants a
job no more, its answers stay.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from functools import partial
from logging import getLogger
from pathlib import Path
from typing import Final

import anyio
from anyio import to_thread
from pydantic import BaseModel, ConfigDict, ValidationError

from shoal_agent.batch.errors import BatchError
from shoal_agent.batch_jobs.child import Interrupted, Summary, answers_of, rows_so_far, run_child
from shoal_agent.batch_jobs.inputs import find_inputs
from shoal_agent.durable import make_folder, replace_file
from shoal_agent.errors import AgentError, DiskError
from shoal_agent.idle_settings import BatchJobSettings
from shoal_agent.sections import Sections
from shoal_agent.uploads import Elsewhere, Uploads
from shoal_contract.ack import BlobAnswer
from shoal_contract.batch_jobs import BatchResult, DesiredBatch
from shoal_contract.limits import DEFAULT_CHUNK_BYTES
from shoal_contract.reported import SectionReport
from shoal_contract.telemetry import BlobOffer, EventBody

_log = getLogger(__name__)
PREFIX: Final = "batches/"
_DONE: Final = "done.json"
_INPUTS: Final = "inputs.json"


class _Done(BaseModel):
    """How a job ended, and whether the hub has said its last word on the answers."""

    model_config = ConfigDict(frozen=True)

    result: BatchResult
    is_settled: bool


class BatchJobs:
    """What runs of the sections `batches/<name>`. Belongs to the event loop.

    Args:
        data: The agent's folder.
        uploads: The way to the hub.
        report: Takes the report of a section.
        tell: Queues an event for the hub.
        now: Trusted time.
        settings: Bounds, and what the owner allows.
        time_zone: That windows are in; empty: the system's.
        turn: Held while a job runs; whoever else works when the device is idle shares it. None: one of its own.
    """

    def __init__(
        self,
        data: Path,
        uploads: Uploads,
        report: Callable[[str, SectionReport], None],
        tell: Callable[[EventBody], None],
        now: Callable[[], datetime],
        settings: BatchJobSettings,
        time_zone: str = "",
        turn: anyio.Lock | None = None,
    ) -> None:
        self._data = data
        self._uploads = uploads
        self._report = report
        self._tell = tell
        self._now = now
        self._settings = replace(settings, folders=settings.folders or (data / "inputs",))
        self._time_zone = time_zone
        self._turn = turn or anyio.Lock()

    def follow(self, wanted: dict[str, DesiredBatch], sections: Sections) -> None:
        """Set every job on its way, and end those that are not wanted any more."""
        for name, body in wanted.items():
            sections.want(PREFIX + name, body, "", partial(self.converge, name, body))
        for key in sections.keys(PREFIX):
            name = key.removeprefix(PREFIX)
            if name not in wanted:
                sections.want(key, None, "", partial(self._forget, name))

    async def converge(self, name: str, wanted: DesiredBatch) -> str:
        """Do a job once, tell how it ended, and send its answers if that is asked and allowed.

        Raises:
            BatchError: It ended otherwise than done; the hub has been told.
            DiskError: The disk does not take it; try again.
        """
        folder = self._data / "batches" / name
        done = await to_thread.run_sync(_read_done, folder)
        if done is None:
            async with self._turn:
                result = await self._end(name, wanted, folder)
            done = await self._told(folder, result)
        if done.result.problem is not None:
            raise BatchError(done.result.problem.message, done.result.problem.remedy)
        if done.result.result_sha256 is not None and not done.is_settled:
            await self._send(name, wanted, folder, done)
        return f"{done.result.answered} answered, {done.result.rejected} rejected"

    async def _end(self, name: str, wanted: DesiredBatch, folder: Path) -> BatchResult:
        """Do a job to its end, whatever that is."""
        began_s = anyio.current_time()
        answered, rejected = 0, 0
        try:
            with anyio.fail_after(max(0.0, (wanted.deadline_at - self._now()).total_seconds())):
                summary = await self._run(name, wanted, folder)
        except TimeoutError:
            message = f"the batch job {name}: its deadline {wanted.deadline_at:%Y-%m-%d %H:%M} UTC has passed"
            late = BatchError(message, "give a later one, or a job that may work more of the time")
            ended = BatchResult(batch=name, outcome="expired", problem=late.to_problem())
            answered, rejected = rows_so_far(folder, wanted)
        except BatchError as error:
            ended = BatchResult(batch=name, outcome="failed", problem=error.to_problem())
            answered, rejected = rows_so_far(folder, wanted)
        else:
            ended = await to_thread.run_sync(self._answers, name, wanted, answers_of(folder, wanted))
            ended = ended.model_copy(update={"version": summary.version})
            answered, rejected = summary.answered, summary.rejected
        told = {"answered": answered, "rejected": rejected, "duration_s": anyio.current_time() - began_s}
        return ended.model_copy(update=told)

    async def _run(self, name: str, wanted: DesiredBatch, folder: Path) -> Summary:
        """Run the job's process, again where it was interrupted; say how far it is meanwhile.

        Raises:
            BatchError: It can not be done.
            DiskError: The disk does not take it.
        """
        async with anyio.create_task_group() as group:
            group.start_soon(self._say_how_far, name, wanted, folder)
            ended = await self._ended(name, wanted, folder)
            group.cancel_scope.cancel()
        if isinstance(ended, AgentError):
            raise ended
        return ended

    async def _ended(self, name: str, wanted: DesiredBatch, folder: Path) -> Summary | AgentError:
        """Return what came of it; errors as well, as a task group would wrap them."""
        for _ in range(self._settings.most_starts):
            try:
                inputs = await to_thread.run_sync(self._inputs, wanted, folder)
                return await run_child(self._data, folder, wanted, inputs, self._time_zone)
            except AgentError as error:
                return error
            except OSError as error:
                return DiskError(f"doing the batch job {name}: {error}", "free some disk space")
            except Interrupted:
                _log.info("batch job %s: its process was ended; it goes on", name)
        return BatchError(f"the batch job {name}: its process was ended {self._settings.most_starts} times")

    async def _say_how_far(self, name: str, wanted: DesiredBatch, folder: Path) -> None:
        said = ""
        while True:
            answered, rejected = await to_thread.run_sync(rows_so_far, folder, wanted)
            step = f"{answered} answered, {rejected} rejected"
            if step != said:
                self._report(PREFIX + name, SectionReport(state="working", step=step))
                said = step
            await anyio.sleep(self._settings.report_s)

    def _inputs(self, wanted: DesiredBatch, folder: Path) -> list[str]:
        """Return the files of a job: those that were there when it began."""
        make_folder(folder, mode=0o700)
        kept = folder / _INPUTS
        if kept.exists():
            return list(map(str, json.loads(kept.read_bytes())))
        for one in self._settings.folders:
            one.mkdir(parents=True, exist_ok=True)
        found = find_inputs(wanted.input, self._settings.folders, self._settings.most_inputs)
        replace_file(kept, json.dumps(found).encode())
        return found

    def _answers(self, name: str, wanted: DesiredBatch, path: Path) -> BatchResult:
        """Return what the hub is told of the answers; with a hash only if they are to be sent."""
        size_bytes = path.stat().st_size
        is_sent = self._settings.may_send and 0 < size_bytes <= wanted.max_result_bytes
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest() if is_sent else None
        return BatchResult(batch=name, outcome="done", result_bytes=size_bytes, result_sha256=sha256)

    async def _told(self, folder: Path, result: BatchResult) -> _Done:
        """Tell how a job ended, then note it: a cut in between tells it twice, and the hub drops one."""
        done = _Done(result=result, is_settled=False)
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(self._tell, result)
            await to_thread.run_sync(_write_done, folder, done)
        return done

    async def _send(self, name: str, wanted: DesiredBatch, folder: Path, done: _Done) -> None:
        """Offer the answers, and return when the hub has said its last word on them."""
        settled, answers = anyio.Event(), list[BlobAnswer]()

        def settle(answer: BlobAnswer) -> None:
            answers.append(answer)
            settled.set()

        path, result = answers_of(folder, wanted), done.result
        offer = BlobOffer.model_validate(
            {
                "sha256": result.result_sha256,
                "size_bytes": result.result_bytes,
                "chunk_bytes": DEFAULT_CHUNK_BYTES,
                "purpose": "batch_result",
                "about": name,
            }
        )
        self._report(PREFIX + name, SectionReport(state="working", step="sending the answers"))
        while not settled.is_set():  # a hub that was restored from a backup knows of no offer before
            self._uploads.offer_elsewhere(offer, Elsewhere(partial(_read_answers, path), settle, "batches"))
            with anyio.move_on_after(self._settings.offer_again_s):
                await settled.wait()
        if answers[0].state == "refused":
            _log.warning("batch job %s: its answers stay here: the hub refused them: %s", name, answers[0].reason)
        await to_thread.run_sync(_write_done, folder, done.model_copy(update={"is_settled": True}))

    async def _forget(self, name: str) -> None:
        """Forget a job; its answers and rejects stay."""
        folder = self._data / "batches" / name
        for path in folder.glob("*"):
            if path.name in {_DONE, _INPUTS, "log"} or path.suffix == ".journal":
                path.unlink(missing_ok=True)


def _read_answers(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DiskError(f"reading the answers {path}: {error}") from error


def _read_done(folder: Path) -> _Done | None:
    try:
        return _Done.model_validate_json((folder / _DONE).read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        _log.error("reading %s: %s; the job is looked at again", folder / _DONE, error)
        return None


def _write_done(folder: Path, done: _Done) -> None:
    try:
        make_folder(folder, mode=0o700)
        replace_file(folder / _DONE, done.model_dump_json().encode())
    except OSError as error:
        raise DiskError(f"noting how the batch job in {folder} ended: {error}", "free some disk space") from error
