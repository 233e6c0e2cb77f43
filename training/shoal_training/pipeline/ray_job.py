"""Runs a whole pipeline as a job of a cluster of Ray: its file and what lies beside it go there, its log comes back.

The cluster's machines need Shoal themselves. What the run leaves lies in the folder of results, as the cluster has it:
in one that both have at the same place, it is here as well.
"""

import asyncio
import json
import os
import shlex
import time
import warnings
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from shoal_training import errors
from shoal_training.errors import LaunchError
from shoal_training.frameworks.libraries import of_extra
from shoal_training.pipeline.reading import PipelineFile
from shoal_training.pipeline.record import RunRecord
from shoal_training.progress import Progress, silent

_LAST_LINES: Final = 20
"""Of the log, that an error shows."""
_TRIES: Final = 6
"""To send a job, where the cluster asks for another one after 10 s."""
_ENDED: Final = frozenset({"STOPPED", "SUCCEEDED", "FAILED"})
_AGAIN_S: Final = 1.0
"""Before a log is followed again that has ended, from its beginning."""
_WITHOUT: Final = (".git", "__pycache__")
"""Of the folder, what does not go to the cluster."""


@dataclass(frozen=True)
class RayJob:
    """A pipeline on a cluster.

    Attributes:
        client: Ray's, of the cluster.
        id: By which `ray job status`, `ray job logs` and `ray job stop` know it.
    """

    client: Any
    id: str

    def status(self) -> str:
        """Return what Ray says of it: PENDING, RUNNING, STOPPED, SUCCEEDED or FAILED."""
        return str(self.client.get_job_status(self.id))

    def cancel(self) -> None:
        """End it and all that it has started; nothing if it has ended."""
        self.client.stop_job(self.id)

    def result(self, progress: Progress = silent) -> RunRecord:
        """Follow it to its end. If that is left by an error or an interruption, it is cancelled.

        Raises:
            TrainingError: What the pipeline raises, by its own class.
            LaunchError: It has ended without a word, or was cancelled.
        """
        log = _Log(progress)
        try:
            self._follow_to_the_end(log)
        except BaseException:
            with suppress(Exception):  # what has happened first is told
                self.cancel()
            raise
        if log.result is not None:
            return RunRecord.model_validate(log.result)
        if log.error is not None:
            kind = getattr(errors, log.error["error"], LaunchError)
            raise kind(log.error["message"])
        said = "\n".join(log.last) or "nothing"
        raise LaunchError(
            f"running a pipeline on Ray: the job {self.id} ended as {self.status()}; its log ends with: {said}"
        )

    def _follow_to_the_end(self, log: "_Log") -> None:
        """Follow its log again where that ends before the job does, as where a proxy or the dashboard is restarted."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "ssl=None", DeprecationWarning)  # how Ray asks aiohttp
            while True:
                has_ended = self.status() in _ENDED  # asked before: what it wrote last is in the log that follows
                rest = asyncio.run(self._follow(log))
                if has_ended or log.result is not None or log.error is not None:
                    log.take(rest)
                    return
                time.sleep(_AGAIN_S)

    async def _follow(self, log: "_Log") -> str:
        """Take the lines of the log that were not taken yet: it comes from its beginning. Return what no line ends."""
        at, rest = 0, ""
        async for text in self.client.tail_job_logs(self.id):
            *lines, rest = (rest + text).split("\n")
            for line in lines:
                at += 1
                if at > log.lines:
                    log.lines = at
                    log.take(line)
        return rest


def submit(file: PipelineFile, address: str, root: Path, out_dir: Path | None = None, *, is_fresh: bool) -> RayJob:
    """Send a pipeline to a cluster and begin to run it.

    Args:
        file: As it was read; its folder goes along.
        address: Of the cluster's dashboard, `http://HOST:8265`.
        root: Folder of results, as the cluster has it.
        out_dir: For the bundle, as the cluster has it; None: below the results.
        is_fresh: Whether steps are done again that were done before.

    Raises:
        LaunchError: The cluster can not be reached, or does not take it.
        MissingLibraryError: Ray is not installed here.
    """
    with of_extra("cluster", "running a pipeline on Ray"):
        from ray.job_submission import JobSubmissionClient
    folder = file.path.absolute().parent
    options = ["--json", "--store", str(root.absolute()), *(["--fresh"] if is_fresh else [])]
    options += [] if out_dir is None else ["--out", str(out_dir.absolute())]
    entry = shlex.join(["python", "-m", "shoal_training.pipeline", file.path.name, *options])
    # Data is among what git is told to ignore more often than not.
    os.environ.setdefault("RAY_RUNTIME_ENV_IGNORE_GITIGNORE", "1")
    sent = {"working_dir": str(folder), "excludes": [*_WITHOUT, *_within(folder, root, out_dir)]}
    try:
        client = JobSubmissionClient(address)
        return RayJob(client, _begun(client, entry, sent))
    except Exception as error:  # Ray's, requests' and plain ones
        said = " ".join(str(error).split())[:500]
        raise LaunchError(
            f"running {file.path} on {address}: {said}; name the address of the cluster's dashboard, as in "
            "http://HOST:8265, and its token in RAY_AUTH_TOKEN where it asks for one"
        ) from error


def _begun(client: Any, entry: str, sent: dict[str, Any]) -> str:  # noqa: ANN401 - Ray's client
    """Send a job; a cluster that has just begun waits for its own parts, and may want to be asked again."""
    left = _TRIES
    while True:
        try:
            return str(client.submit_job(entrypoint=entry, runtime_env=sent))
        except RuntimeError as error:
            left -= 1
            if not left or "try again later" not in str(error):
                raise


def _within(folder: Path, *results: Path | None) -> list[str]:
    """Return those of the folders of results that lie in a pipeline's folder, as patterns of what is left out."""
    inner = [one.absolute() for one in results if one is not None and one.absolute().is_relative_to(folder)]
    return [f"/{one.relative_to(folder)}" for one in inner if one != folder]


@dataclass
class _Log:
    """What a job's log tells: progress, the result or the error, and lines of others."""

    progress: Progress
    result: dict[str, Any] | None = None
    error: dict[str, str] | None = None
    lines: int = 0
    """That were taken."""
    last: deque[str] = field(default_factory=lambda: deque(maxlen=_LAST_LINES))

    def take(self, line: str) -> None:
        """Take a line."""
        try:
            found = json.loads(line)
            match found["event"]:
                case "progress":
                    self.progress(found["stage"], found["done"], found["total"])
                case "result":
                    self.result = found["result"]
                case "error":
                    self.error = found
        except (ValueError, KeyError, TypeError):  # what libraries print
            if line.strip():
                self.last.append(line)
