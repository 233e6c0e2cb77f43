"""The captured samples of a device, one encrypted file each, within what its owner allows on the disk and in a day.

`<data>/capture/<ms since 1970>-<random>.sealed`, so that names are in order of age, and `day.json`. What a day has
taken is noted before the sample is written: a power cut between the two costs room, and never lets more in.
"""

import re
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, timezone
from logging import getLogger
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from shoal_agent.capture.errors import CaptureError
from shoal_agent.capture.sealed import Captured, Header, read_header, seal, take_over, unseal
from shoal_agent.durable import make_folder, replace_file
from shoal_agent.encryption_key import EncryptionKey
from shoal_agent.errors import DiskError
from shoal_contract.wire import Count

_log = getLogger(__name__)
_NAME: Final = re.compile(r"(\d{13,15})-[0-9a-f]{8}\.sealed")
_DAY: Final = "day.json"


@dataclass(frozen=True)
class Budget:
    """What captured samples may take.

    Attributes:
        max_bytes: All of them together on the disk.
        day_bytes: Those of one day of UTC, also if they are deleted meanwhile.
        day_samples: The same, by number.
    """

    max_bytes: int
    day_bytes: int
    day_samples: int


@dataclass(frozen=True)
class Kept:
    """A file that was kept; `size_bytes` is that of the file."""

    name: str
    at: datetime
    size_bytes: int


class _Day(BaseModel):
    """What a day has taken."""

    model_config = ConfigDict(frozen=True)

    day: date
    size_bytes: Count = 0
    samples: Count = 0


class CaptureStore:
    """The folder. Not safe for use by several threads at once; one process writes, others may read and delete.

    Args:
        folder: `<data>/capture`.
        now: Trusted time.
    """

    def __init__(self, folder: Path, now: Callable[[], datetime]) -> None:
        self._folder = folder
        self._now = now

    def add(self, captured: Captured, key: EncryptionKey, budget: Budget) -> str | None:
        """Keep a sample; the oldest make room for it.

        Returns:
            Its name; None where the day's budget is spent, or it is larger than all may be together.

        Raises:
            DiskError: The disk does not take it.
        """
        data = seal(captured, key)
        now = self._now()
        day = self._day(now.astimezone(timezone.utc).date())
        taken = day.model_copy(update={"size_bytes": day.size_bytes + len(data), "samples": day.samples + 1})
        if taken.size_bytes > budget.day_bytes or taken.samples > budget.day_samples or len(data) > budget.max_bytes:
            return None
        name = f"{int(now.timestamp() * 1000):013d}-{secrets.token_hex(4)}.sealed"
        try:
            make_folder(self._folder, mode=0o700)
            self._make_room(budget.max_bytes - len(data))
            replace_file(self._folder / _DAY, taken.model_dump_json().encode())
            replace_file(self._folder / name, data)
        except OSError as error:
            raise DiskError(f"keeping a captured sample in {self._folder}: {error}", "free some disk space") from error
        return name

    def kept(self) -> list[Kept]:
        """Return what is kept, the oldest first.

        Raises:
            DiskError: The folder can not be read.
        """
        kept = []
        try:
            for path in self._folder.iterdir() if self._folder.is_dir() else ():
                found = _NAME.fullmatch(path.name)
                if found is not None:
                    at = datetime.fromtimestamp(int(found[1]) / 1000, timezone.utc)
                    with suppress(FileNotFoundError):  # it made room for another one meanwhile
                        kept.append(Kept(path.name, at, path.stat().st_size))
        except OSError as error:
            raise DiskError(f"listing {self._folder}: {error}") from error
        return sorted(kept, key=lambda one: one.name)

    def header(self, name: str) -> Header:
        """Return what anybody may know of a sample.

        Raises:
            CaptureError: There is none of this name, or it is damaged.
            DiskError: It can not be read.
        """
        return read_header(self._read(name))[0]

    def open(self, name: str, key: EncryptionKey) -> Captured:
        """Return a sample, decrypted.

        Raises:
            CaptureError: There is none of this name, it is damaged, or kept under another key.
            DiskError: It can not be read.
        """
        return unseal(self._read(name), key)

    def delete(self, name: str) -> None:
        """Delete a sample.

        Raises:
            CaptureError: There is none of this name.
            DiskError: It can not be deleted.
        """
        path = self._path(name)
        try:
            path.unlink()
        except FileNotFoundError as error:
            raise _missing(name) from error
        except OSError as error:
            raise DiskError(f"deleting {path}: {error}") from error

    def label(self, name: str, key: EncryptionKey, true_label: int) -> None:
        """Note the true label of a sample with it, encrypted as all of it is.

        Raises:
            CaptureError: There is none of this name, it is damaged, or kept under another key.
            DiskError: The disk does not take it.
        """
        captured = self.open(name, key)
        about = captured.about.model_copy(update={"true_label": true_label})
        try:
            replace_file(self._path(name), seal(Captured(about, captured.sample), key))
        except OSError as error:
            raise DiskError(f"noting the label of {self._path(name)}: {error}", "free some disk space") from error

    def take_over(self, old: EncryptionKey, new: EncryptionKey) -> None:
        """Have every sample opened by another key as well, before it takes the old one's place.

        Raises:
            DiskError: The disk does not take it.
        """
        for kept in self.kept():
            try:
                data = take_over(self._read(kept.name), old, new)
                replace_file(self._path(kept.name), data)
            except CaptureError as error:  # nobody could read it before either
                _log.error("replacing the encryption key: %s: %s", kept.name, error)
            except OSError as error:
                raise DiskError(f"writing {self._path(kept.name)}: {error}", "free some disk space") from error

    def _day(self, today: date) -> _Day:
        """Return what today has taken; a clock that is behind the last day goes on with that day's budget."""
        try:
            day = _Day.model_validate_json((self._folder / _DAY).read_bytes())
        except FileNotFoundError:
            return _Day(day=today)
        except (OSError, ValidationError) as error:
            _log.error("reading %s: %s; the day's budget of captured samples begins anew", self._folder / _DAY, error)
            return _Day(day=today)
        return day if day.day >= today else _Day(day=today)

    def _make_room(self, most_bytes: int) -> None:
        kept = self.kept()
        total = sum(one.size_bytes for one in kept)
        for one in kept:
            if total <= most_bytes:
                return
            (self._folder / one.name).unlink(missing_ok=True)
            total -= one.size_bytes

    def _read(self, name: str) -> bytes:
        path = self._path(name)
        try:
            return path.read_bytes()
        except FileNotFoundError as error:
            raise _missing(name) from error
        except OSError as error:
            raise DiskError(f"reading {path}: {error}") from error

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise _missing(name)
        return self._folder / name


def _missing(name: str) -> CaptureError:
    return CaptureError(f"looking for the captured sample {name[:64]!r}: there is none", "shoal-agent captures list")
