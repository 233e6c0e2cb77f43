"""When the hub is told of the byte ledger: not with each heartbeat, as the telling itself takes bytes."""

import time
from collections.abc import Callable

from shoal_agent.ledger.ledger import Ledger
from shoal_agent.settings import LedgerSettings
from shoal_contract.ledger import LedgerTotals


class LedgerReports:
    """Decides which heartbeats carry the ledger.

    Args:
        ledger: What is told.
        settings: How often.
        clock_s: A clock that never goes back, in seconds.
    """

    def __init__(self, ledger: Ledger, settings: LedgerSettings, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._ledger = ledger
        self._settings = settings
        self._clock_s = clock_s
        self._told: LedgerTotals | None = None
        self._told_s = 0.0
        self._connection = -1

    def due(self, connection: int) -> LedgerTotals | None:
        """Write the ledger if that is due, and return what this connection's next heartbeat is to carry of it."""
        self._ledger.save_if_due()
        totals = self._ledger.totals()
        if not totals.months or totals == self._told:
            return totals if totals.months and connection != self._connection else None
        is_new = self._told is None or connection != self._connection
        is_much = _size(totals) - _size(self._told) >= self._settings.report_bytes
        is_old = self._clock_s() - self._told_s >= self._settings.report_s
        return totals if is_new or is_much or is_old else None

    def told(self, connection: int, totals: LedgerTotals | None) -> None:
        """Note that the broker has taken a heartbeat with these totals; with None, nothing."""
        if totals is not None:
            self._told, self._told_s, self._connection = totals, self._clock_s(), connection


def _size(totals: LedgerTotals | None) -> int:
    months = totals.months.values() if totals is not None else ()
    return sum(traffic.total_bytes for month in months for traffic in month.values())
