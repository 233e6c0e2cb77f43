"""What a warm-up has come to, so that a start measures nothing: `<data>/run/warmup.json`."""

import threading
from dataclasses import dataclass
from logging import getLogger
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from shoal_agent.durable import replace_file
from shoal_agent.engines.engine import EngineSetup

MAX_REMEMBERED: Final = 64
_MAX_FILE_BYTES: Final = 1024 * 1024
_log = getLogger(__name__)


@dataclass(frozen=True)
class _Entry:
    fits: str
    setup: EngineSetup


_ENTRIES: Final = TypeAdapter(dict[str, _Entry])


class RememberedSetups:
    """How models are set up here, by the hash of their file; the last `MAX_REMEMBERED`.

    Args:
        path: The file. One that is damaged counts as empty: it is measured again.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()

    def of(self, sha256: str) -> EngineSetup | None:
        """Return how a file was set up when it was last measured, whatever that fits."""
        entry = self._read().get(sha256)
        return entry.setup if entry else None

    def get(self, sha256: str, fits: str) -> EngineSetup | None:
        """Return how a file is set up, if that was measured under the same conditions.

        Args:
            sha256: Of the file.
            fits: What the choice depends on: board, runtime, settings.
        """
        entry = self._read().get(sha256)
        return entry.setup if entry and entry.fits == fits else None

    def put(self, sha256: str, fits: str, setup: EngineSetup) -> None:
        """Remember a choice. Where it can not be written, the next start measures again."""
        with self._lock:
            entries = self._read()
            entries.pop(sha256, None)
            kept = list(entries.items())[-(MAX_REMEMBERED - 1) :]
            try:
                replace_file(self._path, _ENTRIES.dump_json({**dict(kept), sha256: _Entry(fits, setup)}), 0o644)
            except OSError as error:
                _log.warning("writing %s: %s; the next start measures again", self._path, error)

    def _read(self) -> dict[str, _Entry]:
        try:
            with self._path.open("rb") as file:
                return _ENTRIES.validate_json(file.read(_MAX_FILE_BYTES))
        except FileNotFoundError:
            return {}
        except (OSError, ValidationError) as error:
            _log.warning("reading %s: %s; what it should tell is measured again", self._path, error)
            return {}
