"""Which samples the hub has, and what a day has sent; `<data>/capture/sent.json`.

A sample is noted once the hub has said that it is stored: a power cut before that sends it again, as the same one.
"""

from collections.abc import Callable, Collection
from datetime import date, datetime, timezone
from logging import getLogger
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shoal_agent.durable import make_folder, replace_file
from shoal_agent.errors import DiskError
from shoal_contract.ids import Name
from shoal_contract.wire import Count

_log = getLogger(__name__)


class Spent(BaseModel):
    """Of one model, in a day."""

    model_config = ConfigDict(frozen=True)

    samples: Count = 0
    size_bytes: Count = 0

    def plus(self, size_bytes: int) -> "Spent":
        """Return it with one sample more."""
        return Spent(samples=self.samples + 1, size_bytes=self.size_bytes + size_bytes)


class _Kept(BaseModel):
    """The file."""

    model_config = ConfigDict(frozen=True)

    names: frozenset[str] = frozenset()
    day: date
    spent: dict[Name, Spent] = Field(default_factory=dict)


class SentFile:
    """The file. Not safe for use by several threads at once.

    Args:
        path: Where it is; one that is damaged begins anew.
        now: Trusted time.
    """

    def __init__(self, path: Path, now: Callable[[], datetime]) -> None:
        self._path = path
        self._now = now
        self._kept = self._read()

    @property
    def names(self) -> Collection[str]:
        """Samples that the hub has."""
        return self._kept.names

    def spent(self, model: str) -> Spent:
        """Return what today has sent of a model."""
        return self._today().get(model, Spent())

    @property
    def spent_bytes(self) -> int:
        """What today has sent of all models."""
        return sum(one.size_bytes for one in self._today().values())

    def note(self, name: str, model: str, size_bytes: int, kept: Collection[str]) -> None:
        """Note that the hub has a sample.

        Args:
            name: The sample.
            model: Its model.
            size_bytes: What has travelled.
            kept: Samples that the device still keeps; of others nobody has to know.

        Raises:
            DiskError: The disk does not take it.
        """
        spent = self._today() | {model: self.spent(model).plus(size_bytes)}
        self._kept = _Kept(names=(self._kept.names | {name}) & set(kept), day=self._day(), spent=spent)
        try:
            make_folder(self._path.parent, mode=0o700)
            replace_file(self._path, self._kept.model_dump_json().encode())
        except OSError as error:
            raise DiskError(f"noting what was sent in {self._path}: {error}", "free some disk space") from error

    def _today(self) -> dict[str, Spent]:
        """Return what today has sent; a clock that is behind the last day goes on with that day."""
        return dict(self._kept.spent) if self._kept.day >= self._date() else {}

    def _day(self) -> date:
        return max(self._kept.day, self._date())

    def _date(self) -> date:
        return self._now().astimezone(timezone.utc).date()

    def _read(self) -> _Kept:
        try:
            return _Kept.model_validate_json(self._path.read_bytes())
        except FileNotFoundError:
            pass
        except (OSError, ValidationError) as error:
            _log.error("reading %s: %s; what was sent may be sent again", self._path, error)
        return _Kept(day=self._date())
