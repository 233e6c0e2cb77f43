"""One job as a child process: `shoal-agent batch`, which goes on from where it was, whatever ended it."""

import fcntl
import glob
import json
import os
import sys
from pathlib import Path
from subprocess import PIPE
from typing import Any, Final

import anyio
from anyio import to_thread
from pydantic import BaseModel, ConfigDict, ValidationError

from shoal_agent.batch.errors import BatchError
from shoal_agent.cli_batch import STOPPED_EXIT_CODE
from shoal_contract.batch_jobs import DesiredBatch
from shoal_contract.wire import Count, Ordinal

_LOG: Final = "log"
_TAIL_BYTES: Final = 2000
_LOOK_S: Final = 0.5


class Summary(BaseModel):
    """What a job that has come to its end says."""

    model_config = ConfigDict(frozen=True)

    version: Ordinal
    answered: Count
    rejected: Count


class Interrupted(Exception):  # noqa: N818 - no error: the same command goes on
    """The job's process ended before the job."""


async def run_child(data: Path, folder: Path, wanted: DesiredBatch, inputs: list[str], time_zone: str) -> Summary:
    """Do a job to its end; cancelled, its process is killed, and the next call goes on.

    Args:
        data: The agent's folder.
        folder: The job's own.
        wanted: What is asked.
        inputs: The files.
        time_zone: That windows are in; empty: the system's.

    Raises:
        BatchError: It can not be done.
        Interrupted: Its process was stopped or killed.
        OSError: The folder can not be written.
    """
    await _until_free(_journal_of(folder, wanted))
    log = await anyio.open_file(folder / _LOG, "wb")
    async with log:
        command = _command(data, folder, wanted, inputs, time_zone)
        ended = await anyio.run_process(command, check=False, stdout=PIPE, stderr=log.wrapped)
    if ended.returncode < 0 or ended.returncode == STOPPED_EXIT_CODE:
        raise Interrupted
    try:
        summary = Summary.model_validate_json(ended.stdout)
    except ValidationError as error:
        raise _failure(folder / _LOG, ended.returncode) from error
    if summary.rejected and not summary.answered:
        message = f"answering {wanted.input[:200]!r}: none of {summary.rejected} rows could be answered"
        raise BatchError(message, f"read the reasons on the device: {rejects_of(folder, wanted)}")
    return summary


def answers_of(folder: Path, wanted: DesiredBatch) -> Path:
    """Return where a job's answers lie."""
    return folder / f"answers.{wanted.form}"


def rejects_of(folder: Path, wanted: DesiredBatch) -> Path:
    """Return where rows without an answer lie."""
    return folder / f"answers.{wanted.form}.rejects.jsonl"


def rows_so_far(folder: Path, wanted: DesiredBatch) -> tuple[int, int]:
    """Return how many rows of a job are durably answered and rejected."""
    answered = rejected = 0
    try:
        lines = _journal_of(folder, wanted).read_bytes().splitlines()
    except OSError:
        return 0, 0
    for line in lines:
        try:
            entry: Any = json.loads(line)
        except ValueError:  # it is being written
            continue
        if isinstance(entry, dict) and entry.get("kind") == "part":
            answered, rejected = answered + int(entry["answered"]), rejected + int(entry["rejected"])
    return answered, rejected


def _journal_of(folder: Path, wanted: DesiredBatch) -> Path:
    return folder / f"answers.{wanted.form}.journal"


async def _until_free(journal: Path) -> None:
    """Wait until the process of an agent that was killed has ended, which it does soon after."""
    while not await to_thread.run_sync(_is_free, journal):  # noqa: ASYNC110 - a lock of another process tells nobody
        await anyio.sleep(_LOOK_S)


def _is_free(journal: Path) -> bool:
    try:
        with journal.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return True
    except BlockingIOError:
        return False
    return True


def _command(data: Path, folder: Path, wanted: DesiredBatch, inputs: list[str], time_zone: str) -> list[str]:
    words = [sys.executable, "-m", "shoal_agent", "batch", "--data", str(data), "--json", "--model", wanted.model]
    words += ["--end-with", str(os.getpid())]
    words += ["--output", str(answers_of(folder, wanted)), "--rejects", str(rejects_of(folder, wanted))]
    for one in inputs:
        words += ["--input", glob.escape(one)]
    for column in wanted.keep:
        words += ["--keep", column]
    if wanted.version is not None:
        words += ["--model-version", str(wanted.version)]
    if wanted.max_load is not None:
        words += ["--when-idle", "--max-load", str(wanted.max_load)]
    for window in wanted.windows:
        words += ["--window", f"{window.start}-{_end_of(window.start, window.minutes)}"]
    return [*words, "--time-zone", time_zone] if time_zone else words


def _end_of(start: str, minutes: int) -> str:
    hours, begun = map(int, start.split(":"))
    end = (60 * hours + begun + minutes) % (24 * 60)
    return f"{end // 60:02}:{end % 60:02}"


def _failure(log: Path, status: int) -> BatchError:
    """Return what the child said last, as its error."""
    tail = log.read_bytes()[-_TAIL_BYTES:].decode(errors="replace").strip()
    said, _, remedy = tail.rpartition("\n  do: ")
    _, _, message = (said or tail).rpartition("error: ")
    return BatchError(f"the batch job ended with {status}: {message[-900:]}", remedy[:400] or None)
