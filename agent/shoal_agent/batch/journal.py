"""The journal of a job, beside its output: what it is, which parts are durable, and that it is done.

One JSON object a line, each written and synced before anything relies on it. A last line that a kill has cut off
counts for nothing. It stays when the job is done: the same command, given again, finds that there is nothing to do.
"""

import errno
import fcntl
import os
from pathlib import Path
from typing import Annotated, BinaryIO, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from shoal_agent.batch.errors import BatchError
from shoal_agent.durable import make_folder, sync_folder
from shoal_contract.ids import Name, Sha256

_FROZEN: Final = ConfigDict(frozen=True, extra="forbid")


class Plan(BaseModel):
    """What a job is; a journal of another one is not gone on with."""

    model_config = _FROZEN

    kind: Literal["plan"] = "plan"
    model: Name
    version: int
    target: Name
    manifest_sha256: Sha256
    inputs: tuple[dict[str, str | int], ...]
    keep: tuple[str, ...]

    def difference(self, other: "Plan") -> str:
        """Return what differs in another one, for a person; empty where nothing does."""
        names = [name for name in type(self).model_fields if getattr(self, name) != getattr(other, name)]
        return ", ".join("its version" if name in {"target", "manifest_sha256"} else f"its {name}" for name in names)


class Part(BaseModel):
    """Rows whose answers and reasons are durable, and where to go on after them."""

    model_config = _FROZEN

    kind: Literal["part"] = "part"
    number: int
    answered: int
    rejected: int
    input: int
    """The input that is gone on with, by its place among them."""
    after: dict[str, int] | None
    """Where in it; None: at its beginning."""


class Done(BaseModel):
    """Output and rejects are whole and in their places."""

    model_config = _FROZEN

    kind: Literal["done"] = "done"
    answered: int
    rejected: int
    seconds: float


Entry = Annotated[Plan | Part | Done, Field(discriminator="kind")]
_ENTRY: Final[TypeAdapter[Plan | Part | Done]] = TypeAdapter(Entry)


class Journal:
    """An open journal, which one process at a time may hold.

    Args:
        path: Made if it is not there.

    Raises:
        BatchError: Another process holds it, or it is none.
        OSError: It can not be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        make_folder(path.parent)
        is_new = not path.exists()
        self._file: BinaryIO = path.open("a+b", buffering=0)
        try:
            self._lock()
            if is_new:
                sync_folder(path.parent)
            self.entries = self._read()
        except BaseException:
            self._file.close()
            raise

    @property
    def plan(self) -> Plan | None:
        """What was begun; None: nothing yet."""
        return next((entry for entry in self.entries if isinstance(entry, Plan)), None)

    @property
    def parts(self) -> list[Part]:
        """The parts that are durable, in order."""
        return [entry for entry in self.entries if isinstance(entry, Part)]

    @property
    def done(self) -> Done | None:
        """What came of it, where it is done."""
        return next((entry for entry in self.entries if isinstance(entry, Done)), None)

    def write(self, entry: Plan | Part | Done) -> None:
        """Make an entry durable.

        Raises:
            OSError: The disk does not take it.
        """
        line = entry.model_dump_json().encode() + b"\n"
        if self._file.write(line) != len(line):  # the rest is cut off at the next opening
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        os.fsync(self._file.fileno())
        self.entries.append(entry)

    def clear(self) -> None:
        """Forget all of it."""
        self._file.truncate(0)
        os.fsync(self._file.fileno())
        self.entries.clear()

    def close(self) -> None:
        """Let another process have it."""
        self._file.close()

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            message = f"opening {self.path}: another process works on this output"
            raise BatchError(message, "wait for its end") from error

    def _read(self) -> list[Plan | Part | Done]:
        self._file.seek(0)
        content = self._file.read()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            self._file.truncate(len(whole))
        try:
            return [_ENTRY.validate_json(line) for line in whole.splitlines()]
        except ValidationError as error:
            message = f"reading {self.path}: it is no journal of a batch job"
            raise BatchError(message, "name another output, or move that file away") from error
