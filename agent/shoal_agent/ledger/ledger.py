"""Keeps the byte ledger on disk: totals by month and category, and what of the month's budget counts as spent.

Only what is on disk is reported to the hub, so that no total ever falls. A power cut loses what was counted since the
last write; for the budget such a loss counts as spent, as that much was reserved on disk before it could be used.
"""

import threading
import time
from collections.abc import Callable
from datetime import datetime
from logging import getLogger
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shoal_agent.durable import replace_file
from shoal_agent.errors import DiskError
from shoal_agent.settings import LedgerSettings
from shoal_contract.ledger import (
    MAX_LEDGER_MONTHS,
    ByteCategory,
    LedgerTotals,
    Month,
    Traffic,
    month_of,
    uplink_bytes,
)
from shoal_contract.wire import Count, Ordinal

_log = getLogger(__name__)
_MAX_MONTHS: Final = 3


class _Kept(BaseModel):
    """The file. `reserved` is at least what was spent of each month's budget, also after a power cut."""

    model_config = ConfigDict(frozen=True)

    stream: Ordinal
    months: dict[Month, dict[str, Traffic]] = Field(default_factory=dict)
    reserved: dict[Month, Count] = Field(default_factory=dict)


class Ledger:
    """`<data>/ledger.json`. Any thread may call.

    Args:
        path: Where it is kept; a damaged file is put aside and another ledger begun.
        settings: How often it is written.
        certain: The time that has passed for certain (`Clock.floor`): a month begins only when nothing doubts it, so
            that a clock that jumps ahead frees no budget, and one that falls back finds the month that it had.
        begin: Gives a new ledger its name, greater than all before.
    """

    def __init__(
        self, path: Path, settings: LedgerSettings, certain: Callable[[], datetime], begin: Callable[[], int]
    ) -> None:
        self._path = path
        self._settings = settings
        self._certain = certain
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._kept = self._read() or _Kept(stream=begin())
        self._months = {month: dict(traffic) for month, traffic in self._kept.months.items()}
        self._lost = {
            month: max(0, reserved - uplink_bytes(self._months.get(month, {})))
            for month, reserved in self._kept.reserved.items()
        }
        self._unsaved_bytes = 0
        self._saved_s = time.monotonic()

    @property
    def month(self) -> str:
        """The present month, `YYYY-MM` in UTC."""
        return month_of(self._certain())

    def count(self, category: ByteCategory, traffic: Traffic) -> None:
        """Add traffic of the present month."""
        month = self.month
        with self._lock:
            of_month = self._months.setdefault(month, {})
            of_month[category] = of_month.get(category, Traffic()).plus(traffic)
            self._unsaved_bytes += traffic.total_bytes

    def spent_bytes(self) -> int:
        """Return what of the present month's budget is spent, what a power cut may have hidden included."""
        month = self.month
        with self._lock:
            return self._spent(month)

    def reserve(self, ahead_bytes: int) -> None:
        """Have so much more of the present month count as spent if the power is cut now; ends when that is on disk.

        Raises:
            DiskError: The disk does not take it.
        """
        month = self.month
        with self._lock:
            needed = self._spent(month) + ahead_bytes
            if needed <= self._kept.reserved.get(month, 0):
                return
        self._write({month: needed + self._settings.reserve_bytes})

    def save_if_due(self) -> None:
        """Write what was counted, if it is much or was counted long ago; a full disk is told and tried again."""
        with self._lock:
            is_old = time.monotonic() - self._saved_s >= self._settings.save_s
            is_due = self._unsaved_bytes >= self._settings.save_bytes or (is_old and self._unsaved_bytes > 0)
        if is_due:
            try:
                self._write({})
            except DiskError as error:
                _log.error("%s", error)

    def close(self) -> None:
        """Write everything; nothing stays reserved, as nothing is under way any more."""
        with self._lock:
            exact = {month: self._spent(month) for month in self._kept.reserved}
        try:
            self._write(exact)
        except DiskError as error:
            _log.error("%s", error)

    def totals(self) -> LedgerTotals:
        """Return what is on disk of the latest months, as the hub is told it."""
        kept = self._kept
        latest = sorted(kept.months)[-MAX_LEDGER_MONTHS:]
        return LedgerTotals(stream=kept.stream, months={month: kept.months[month] for month in latest})

    def _spent(self, month: str) -> int:
        return uplink_bytes(self._months.get(month, {})) + self._lost.get(month, 0)

    def _write(self, reserved: dict[str, int]) -> None:
        with self._writing:
            with self._lock:
                self._forget_old()
                months = {month: dict(traffic) for month, traffic in self._months.items()}
                kept = _Kept(stream=self._kept.stream, months=months, reserved=self._kept.reserved | reserved)
                unsaved_bytes = self._unsaved_bytes
            try:
                self._replace(kept.model_dump_json().encode())
            except OSError as error:
                raise DiskError(f"keeping the byte ledger in {self._path}: {error}", "free some disk space") from error
            with self._lock:
                self._kept = kept
                self._unsaved_bytes -= unsaved_bytes
                self._saved_s = time.monotonic()

    def _read(self) -> _Kept | None:
        """Return what is kept; None where there is nothing, or nothing that can be read."""
        try:
            return _Kept.model_validate_json(self._load())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            _log.error("reading %s: %s; it is put aside, and the month's budget begins anew", self._path, error)
            _put_aside(self._path)
            return None

    def _load(self) -> bytes:
        return self._path.read_bytes()

    def _replace(self, content: bytes) -> None:
        """Keep it, durably, in place of what was kept."""
        replace_file(self._path, content)

    def _forget_old(self) -> None:
        for month in sorted(self._months)[:-_MAX_MONTHS]:
            del self._months[month]
        known = {*self._months, self.month}
        self._kept = self._kept.model_copy(
            update={"reserved": {month: size for month, size in self._kept.reserved.items() if month in known}}
        )


def _put_aside(path: Path) -> None:
    try:
        path.replace(path.with_name(f"{path.name}.damaged"))
    except OSError as error:  # the next write replaces it
        _log.error("putting %s aside: %s", path, error)
