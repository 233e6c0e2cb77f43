"""Evidence of drift on the disk: a file for each version, so that an agent that starts goes on where it was.

Written seldom, as memory cards wear out, and whole. What is damaged, or of another baseline or other settings, counts
for nothing: the evidence then begins anew.
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Final

from shoal_agent.durable import replace_file
from shoal_agent.monitor.answers import StreamKey
from shoal_numerics import NumericsError
from shoal_numerics.drift_evidence import DriftEvidence, EvidenceSettings
from shoal_numerics.watched_shares import WatchedShares

log = logging.getLogger(__name__)

MOST_FILES: Final = 16
"""Versions whose evidence is kept, those written last: each has 25 kB for 30 features, and 2 MB at most."""
MAX_FILE_BYTES: Final = 4 * 1024 * 1024
_MAGIC: Final = b"shoal drift evidence 1\n"
_SHA_BYTES: Final = 32
_SUFFIX: Final = ".evidence"


class EvidenceFiles:
    """The files. Safe for use by several threads, each with a version of its own.

    Args:
        folder: Where they are; made with the first one.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self, key: StreamKey, watched: WatchedShares, settings: EvidenceSettings) -> DriftEvidence | None:
        """Return the evidence of a version, None if there is none that can be gone on with; why is logged."""
        path = self._path(key)
        try:
            with path.open("rb") as file:
                content = file.read(MAX_FILE_BYTES + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            log.warning("evidence of drift of %s version %d begins anew: %s: %s", key[0], key[1], path, error.strerror)
            return None
        head = _head(key, watched, settings)
        sha, body = content[len(_MAGIC) : len(_MAGIC) + _SHA_BYTES], content[len(_MAGIC) + _SHA_BYTES :]
        if not content.startswith(_MAGIC) or hashlib.sha256(body).digest() != sha:
            why = "it is damaged"
        elif not body.startswith(head):
            why = "it is of another baseline, or of other settings"
        else:
            try:
                return DriftEvidence.load(watched, settings, body[len(head) :])
            except NumericsError as error:
                why = str(error)
        log.warning("evidence of drift of %s version %d begins anew: %s: %s", key[0], key[1], path, why)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:  # it is judged like this again at the next start
            log.warning("evidence of drift: %s is not deleted: %s", path, error.strerror)
        return None

    def save(self, key: StreamKey, watched: WatchedShares, settings: EvidenceSettings, state: bytes) -> None:
        """Keep what `DriftEvidence.dump` has returned; a disk that takes nothing is logged, and stops no window."""
        body = _head(key, watched, settings) + state
        path = self._path(key)
        try:
            if not path.exists():
                self._make_room()
            replace_file(path, _MAGIC + hashlib.sha256(body).digest() + body)
        except OSError as error:
            log.warning("evidence of drift is not kept: %s: %s; it begins anew with the agent", path, error.strerror)

    def _make_room(self) -> None:
        """Delete those that were written longest ago."""
        found = sorted(self._folder.glob(f"*{_SUFFIX}"), key=lambda one: one.stat().st_mtime_ns)
        for path in found[: max(0, len(found) + 1 - MOST_FILES)]:
            path.unlink(missing_ok=True)

    def _path(self, key: StreamKey) -> Path:
        named = hashlib.sha256(json.dumps(key).encode()).hexdigest()
        return self._folder / f"{named[:32]}{_SUFFIX}"


def _head(key: StreamKey, watched: WatchedShares, settings: EvidenceSettings) -> bytes:
    """Return what evidence has to be of to be gone on with."""
    shares = hashlib.sha256()
    for array in (watched.feature, watched.first, watched.stop, watched.expected, watched.reference_size):
        shares.update(array.tobytes())
    told = {"key": key, "shares": shares.hexdigest(), "settings": asdict(settings)}
    return json.dumps(told, sort_keys=True).encode() + b"\n"
