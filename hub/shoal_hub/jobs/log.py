"""A job's output on disk: a stream of bytes of which the last part is kept, and that others read while it grows.

What is being written is the file `log`; what was before it lies in files that are named by where in the stream they
begin, `log.<offset>`, of which the oldest go.
"""

from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from shoal_hub.settings import Settings

LOG_FILE: Final = "log"
_PARTS: Final = 4
"""That the kept bytes are in: what goes at once is one of them."""
_TRIES: Final = 5


class LogPart(NamedTuple):
    """Some bytes of the stream; `offset` is where the first of them stands."""

    offset: int
    data: bytes

    @property
    def end(self) -> int:
        """Where the next one begins."""
        return self.offset + len(self.data)


class BoundedLog:
    """Appends to a job's log, and lets its beginning go.

    What the disk does not take is lost, and how much that was is told as soon as it takes something again.

    Args:
        folder: The job's.
        most_bytes: That are kept.
    """

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self._folder, self._most_bytes = folder, most_bytes
        self._part_bytes = max(1, most_bytes // _PARTS)
        self._file = (folder / LOG_FILE).open("ab", buffering=0)
        self._lost_bytes = 0

    def write(self, data: bytes) -> None:
        """Append some bytes."""
        if self._lost_bytes:
            told = f"\n… {self._lost_bytes} bytes of output were lost: the disk took no more\n".encode()
            if self._append(told) < len(told):
                self._lost_bytes += len(data)
                return
        self._lost_bytes = len(data) - self._append(data)

    def close(self) -> None:
        """Let go of the file."""
        self.write(b"")
        self._file.close()

    def _append(self, data: bytes) -> int:
        """Append as much as the disk takes, and return how many bytes that was."""
        written = 0
        with suppress(OSError):
            while written < len(data):
                written += self._file.write(data[written : written + self._part_bytes])
                if self._file.tell() >= self._part_bytes:
                    self._turn()
        return written

    def _turn(self) -> None:
        """Begin the next file; the oldest go, so that what is left and another part fit the bound."""
        parts = _parts(self._folder)
        with suppress(FileNotFoundError):  # it was renamed already, and the next could not be made
            (self._folder / LOG_FILE).rename(self._folder / f"{LOG_FILE}.{parts[-1][0]:020d}")
        following = (self._folder / LOG_FILE).open("ab", buffering=0)
        self._file.close()
        self._file = following
        kept = [path for _, path in _parts(self._folder)[:-1]]
        total = sum(path.stat().st_size for path in kept)
        for path in kept[:-1]:  # one has to stay: it says where the next begins
            if total + self._part_bytes <= self._most_bytes:
                return
            total -= path.stat().st_size
            path.unlink()


def read_log(folder: Path, offset: int, most_bytes: int) -> LogPart:
    """Return what stands in a log from a place on, or from where what is kept begins; of a log not begun, nothing."""
    for _ in range(_TRIES):
        try:
            return _read(folder, offset, most_bytes)
        except FileNotFoundError:
            continue  # a file was renamed meanwhile
    return LogPart(offset, b"")


def read_tail(folder: Path, size_bytes: int) -> str:
    """Return the last part of a log as text."""
    found = read_log(folder, max(0, end_of_log(folder) - size_bytes), size_bytes)
    return found.data.decode(errors="replace")


def end_of_log(folder: Path) -> int:
    """Return how many bytes were ever written to a log."""
    begins, path = _parts(folder)[-1]
    return begins + _size(path)


def job_folder(settings: Settings, job_id: str) -> Path:
    """Return where a job's files lie."""
    return settings.data / "jobs" / job_id


def log_path(settings: Settings, job_id: str) -> Path:
    """Return where a job's output goes."""
    return job_folder(settings, job_id) / LOG_FILE


def _read(folder: Path, offset: int, most_bytes: int) -> LogPart:
    parts = _parts(folder)
    offset = max(offset, parts[0][0])
    gathered, left = bytearray(), most_bytes
    for (start, path), (end, _) in zip(parts, [*parts[1:], (None, None)], strict=True):
        at = offset + len(gathered)
        if left == 0 or (end is not None and at >= end) or not path.exists():
            continue
        with path.open("rb") as file:
            file.seek(at - start)
            gathered += (found := file.read(left))
            left -= len(found)
    return LogPart(offset, bytes(gathered))


def _parts(folder: Path) -> list[tuple[int, Path]]:
    """Return where each file begins in the stream, and the files, the one that is being written last."""
    older = sorted(path for path in folder.glob(f"{LOG_FILE}.*") if path.suffix[1:].isdigit())
    found = [(int(path.suffix[1:]), path) for path in older]
    begins = found[-1][0] + _size(found[-1][1]) if found else 0
    return [*found, (begins, folder / LOG_FILE)]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
