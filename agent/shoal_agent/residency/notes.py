"""What is remembered of models over a restart, in `residency.json`: what they were measured to take, and who rests."""

import threading
from logging import getLogger
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shoal_agent.durable import replace_file
from shoal_agent.errors import DiskError
from shoal_contract.ids import Name

_log = getLogger(__name__)


class Measured(BaseModel):
    """What a file of a model was measured to take, once it was loaded and tested."""

    model_config = ConfigDict(frozen=True)

    file_sha256: str
    size_bytes: int = Field(ge=0)


class _Notes(BaseModel):
    model_config = ConfigDict(frozen=True)

    measured: dict[Name, Measured] = Field(default_factory=dict)
    unloaded: dict[Name, str] = Field(default_factory=dict)
    """Hash of the manifest of the version that was told to unload."""


class ResidencyNotes:
    """The file; safe for use by several threads. A damaged one is begun anew: models are loaded and measured again.

    Args:
        path: Where it lies.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._notes = self._read()

    def measured_bytes(self, name: str, file_sha256: str) -> int | None:
        """Return what a model's file was measured to take; None if it was not."""
        found = self._notes.measured.get(name)
        return found.size_bytes if found is not None and found.file_sha256 == file_sha256 else None

    def last_bytes(self, name: str) -> int | None:
        """Return what a model was measured to take, whatever its version was; None if none was."""
        found = self._notes.measured.get(name)
        return found.size_bytes if found is not None else None

    def is_unloaded(self, name: str, manifest_sha256: str) -> bool:
        """Whether this version was told to unload."""
        return self._notes.unloaded.get(name) == manifest_sha256

    def note_measured(self, name: str, measured: Measured) -> None:
        """Remember what a model takes; that of its version before is forgotten.

        Raises:
            DiskError: It could not be written; it is remembered until the agent ends.
        """
        with self._lock:
            self._put(self._notes.model_copy(update={"measured": self._notes.measured | {name: measured}}))

    def note_unloaded(self, name: str, manifest_sha256: str | None) -> None:
        """Remember that a version was told to unload; None: that none of the model is.

        Raises:
            DiskError: It could not be written; it is remembered until the agent ends.
        """
        with self._lock:
            others = {one: sha256 for one, sha256 in self._notes.unloaded.items() if one != name}
            unloaded = others if manifest_sha256 is None else others | {name: manifest_sha256}
            self._put(self._notes.model_copy(update={"unloaded": unloaded}))

    def _put(self, notes: _Notes) -> None:
        if notes == self._notes:
            return
        self._notes = notes
        try:
            replace_file(self._path, notes.model_dump_json().encode())
        except OSError as error:
            raise DiskError(f"writing {self._path}: {error}", "free some disk space") from error

    def _read(self) -> _Notes:
        try:
            return _Notes.model_validate_json(self._path.read_bytes())
        except FileNotFoundError:
            return _Notes()
        except (OSError, ValidationError) as error:
            _log.error(
                "reading %s: %s; models are measured again, and those that were unloaded are loaded", self._path, error
            )
            return _Notes()
