"""A model as the device serves it, in another process: loaded from the agent's folder, and anew when that changes."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from logging import getLogger
from pathlib import Path
from typing import Final

from shoal_agent.errors import AgentError
from shoal_agent.serving import ServedModel
from shoal_agent.slots import Slot, SlotFile
from shoal_agent.stored_model import open_model

_log = getLogger(__name__)
RETRY_S: Final = 30.0
"""How long a version that does not load here is left alone, unless the device changes it again."""
_ATTEMPTS: Final = 3
"""The agent may delete a file while it is opened here: its next version has taken the place by then."""
_NOTHING: Final = (0, 0, 0)


class FollowedModel:
    """The active version of one model. Not for several threads: it changes between two calls, never within one.

    A version that does not load leaves the one before in its place, if there was one.

    Args:
        data: The agent's folder, which is only read.
        name: The model.
        load: Loads a version and tests it.
        monotonic: Seconds that only rise.
    """

    def __init__(
        self,
        data: Path,
        name: str,
        load: Callable[[Path, str, Slot], ServedModel] = open_model,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._data = data
        self._name = name
        self._load = load
        self._monotonic = monotonic
        self._path = str(data / "models" / name / "state.json")
        self._stat = Path(self._path).stat
        self._seen = _NOTHING
        self._slot: Slot | None = None
        self._served: ServedModel | None = None
        self._retry_s = float("inf")

    def served(self) -> ServedModel | None:
        """Return what the device serves now; None if it serves no such model.

        Raises:
            AgentError: It does not load here.
        """
        if self._look() != self._seen or self._monotonic() >= self._retry_s:
            self._follow()
        return self._served

    def close(self) -> None:
        """Close the version that is loaded."""
        self._take(None, None)
        self._seen = _NOTHING

    def _look(self) -> tuple[int, int, int]:
        """Return what tells one content of the slot file from another: it is replaced as a whole, never written in."""
        try:
            found = self._stat()
        except OSError:
            return _NOTHING
        return found.st_mtime_ns, found.st_ino, found.st_size

    def _follow(self) -> None:
        for attempt in range(1, _ATTEMPTS + 1):
            seen = self._look()
            try:
                self._load_active()
            except AgentError as error:
                if attempt < _ATTEMPTS and self._look() != seen:
                    continue
                if self._served is None:
                    raise
                self._retry_s = self._monotonic() + RETRY_S
                _log.warning("%s stays at version %d: %s; %s", self._name, self._served.version, error, error.remedy)
            else:
                self._retry_s = float("inf")
            self._seen = seen
            return

    def _load_active(self) -> None:
        slot = SlotFile(self._data / "models", self._name).slots.active
        if slot is None:
            self._take(None, None)
        elif self._slot is None or not slot.is_same_file(self._slot):
            with ThreadPoolExecutor(1) as own:  # the caller may have an event loop of its own
                self._take(slot, own.submit(self._load, self._data, self._name, slot).result())

    def _take(self, slot: Slot | None, served: ServedModel | None) -> None:
        old, self._slot, self._served = self._served, slot, served
        if old is not None:
            old.engine.close()
