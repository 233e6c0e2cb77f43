"""Files of counts that have all of their disk: one with holes, once the disk is full, ends who writes by SIGBUS.

The library maps a file into memory and writes there, where no error can be returned. So every page is allocated before
anything is written to it, and a series for which there is no room is counted in memory alone until there is.
"""

import json
import logging
import os
import struct
from pathlib import Path
from typing import Final

from prometheus_client.mmap_dict import MmapedDict

log = logging.getLogger(__name__)

KINDS: Final = ("counter", "histogram", "gauge_livesum", "gauge_livemax")
"""What the library names files by: the kinds of `shoal_hub.meters`, gauges with how processes are put together."""
_SIZE_BYTES: Final = 1 << 16
"""Of a file that begins: all that a process counts but for requests."""
_API_BYTES: Final = {"counter": 1 << 19, "histogram": 1 << 22}
"""Of the API's: a few answers and 15 buckets for each of some hundred routes."""
_FRAME_BYTES: Final = 32
"""What an entry takes at most besides its key."""
_HEADER: Final = struct.Struct("i")
_PARTS: Final = 4
"""Of a key: the family, the sample, its labels and the help."""


def allocate(folder: Path, place: str) -> None:
    """Make a process's files, with all of the disk that they need.

    Raises:
        OSError: There is no room.
    """
    for kind in KINDS:
        size_bytes = _API_BYTES.get(kind, _SIZE_BYTES) if place.partition("-")[0] == "api" else _SIZE_BYTES
        with (folder / f"{kind}_{place}.db").open("ab") as file:
            _allocate(file.fileno(), size_bytes)


def _allocate(file: int, size_bytes: int) -> None:
    """Fill holes as well: a version that knew nothing of this may have left some."""
    os.posix_fallocate(file, 0, max(size_bytes, os.fstat(file).st_size))


class AllocatedDict(MmapedDict):
    """The library's file, which grows by what the disk has."""

    _told = False

    def read_value(self, key: str) -> tuple[float, float]:
        """Return the value of a series and its time; zero for one that there is no room for."""
        if not self._has_room(key):
            return 0.0, 0.0
        value, at = super().read_value(key)  # type: ignore[no-untyped-call]  # the library leaves it untyped
        return value, at

    def write_value(self, key: str, value: float, timestamp: float) -> None:
        """Keep the value of a series, if there is room for it."""
        if self._has_room(key):
            super().write_value(key, value, timestamp)  # type: ignore[no-untyped-call]

    def _has_room(self, key: str) -> bool:
        """Whether a series has its entry, or there is room for one; more of the disk is taken where there is not."""
        if key in self._positions:
            return True
        needed, size_bytes = self._used + len(key.encode()) + _FRAME_BYTES, self._capacity
        while size_bytes < needed:
            size_bytes *= 2
        try:
            if size_bytes > self._capacity:
                _allocate(self._f.fileno(), size_bytes)
        except OSError as error:
            if not AllocatedDict._told:
                log.warning("%s cannot grow (%s): new series are not told until there is room", self._fname, error)
            AllocatedDict._told = True
            return False
        return True


def is_whole(path: Path) -> bool:
    """Whether a file of counts can be read: a power cut may have left pages of zeros."""
    try:
        content = path.read_bytes()
        used = _HEADER.unpack_from(content)[0] if content else 0
        if not 0 <= used <= len(content):
            return False
        entries = MmapedDict.read_all_values_from_file(path)  # type: ignore[no-untyped-call]
        return all(_is_key(key) for key, _, _, _ in entries)
    except (OSError, ValueError, RuntimeError, struct.error):
        return False


def _is_key(text: str) -> bool:
    parts = json.loads(text)
    return isinstance(parts, list) and len(parts) == _PARTS and isinstance(parts[2], dict)
