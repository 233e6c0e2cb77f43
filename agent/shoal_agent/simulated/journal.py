"""What a device's roles have gone through, written down beside them: evidence that does not rest on a device's word.

A line is written before a change is made, as the process may be killed right after it. Which of them were made follows
from the lines themselves: each says what the roles were.
"""

import fcntl
import os
from collections.abc import Iterable, Mapping
from io import SEEK_END, FileIO
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict
from typing_extensions import override

from shoal_agent.slots import SlotFile, Slots


class Activation(NamedTuple):
    """A version that a disk's roles made active, and for which deployment."""

    model: str
    version: int
    deployment: str


class Change(BaseModel):
    """One change of a model's roles, as it was about to be made."""

    model_config = ConfigDict(frozen=True)

    model: str
    before: Slots
    after: Slots

    @property
    def activation(self) -> Activation | None:
        """What it made active: the candidate that there was before; None if nothing."""
        candidate, active = self.before.candidate, self.after.active
        if candidate is None or active is None or self.after.candidate is not None:
            return None
        if active != candidate.model_copy(update={"is_ready": False}):
            return None
        return Activation(self.model, active.version, active.deployment)


def made(changes: Iterable[Change], now: Mapping[str, Slots]) -> list[Change]:
    """Return those of the written changes that were made.

    Args:
        changes: Of any models, in order.
        now: The roles that are on the disk, by model; a model without any may be missing.
    """
    found: list[Change] = []
    latest: dict[str, Change] = {}
    for change in changes:
        earlier = latest.get(change.model)
        if earlier is not None and earlier.after == change.before:
            found.append(earlier)
        latest[change.model] = change
    last = [change for model, change in latest.items() if now.get(model, Slots()) == change.after]
    return [*found, *last]


def read_changes(path: Path) -> list[Change]:
    """Return what is written in a journal; none where there is no file. A line that a kill has cut off counts not."""
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")[:-1]
    return [Change.model_validate_json(line) for line in lines]


class JournalledSlots(SlotFile):
    """A model's roles in their file, each change of which is written to a journal first.

    Args:
        models_dir: `<data>/models`.
        name: The model.
        journal: The file of the journal; several models may share it.
    """

    def __init__(self, models_dir: Path, name: str, journal: Path) -> None:
        super().__init__(models_dir, name)
        self._name = name
        self._journal = journal

    @override
    def put(self, slots: Slots) -> Slots:
        if slots != self.slots:
            self.change_to(slots)
        return super().put(slots)

    @override
    def forget(self) -> None:
        if not self.slots.is_empty():
            self.change_to(Slots())
        super().forget()

    def change_to(self, slots: Slots) -> Change:
        """Write down what is about to be made of the roles, in one piece that no other model's line can part."""
        change = Change(model=self._name, before=self.slots, after=slots)
        line = change.model_dump_json(exclude_none=True).encode() + b"\n"
        with self._journal.open("a+b", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # until it is closed: what another model is writing is not cut off
            _cut_torn(file)
            file.write(line)
        return change


def _cut_torn(file: FileIO) -> None:
    """Cut off a last line that a kill has left without its end: the next one would begin in its middle."""
    size_bytes = file.seek(0, SEEK_END)
    if size_bytes and os.pread(file.fileno(), 1, size_bytes - 1) != b"\n":
        content = os.pread(file.fileno(), size_bytes, 0)
        file.truncate(content.rfind(b"\n") + 1)
