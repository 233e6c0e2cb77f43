"""Takes what devices tell of their byte ledgers into the database."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlmodel import Session, col, select

from shoal_contract.ledger import LedgerTotals, Traffic, month_of, next_month
from shoal_hub.database import add_unless_there
from shoal_hub.traffic.account import Account
from shoal_hub.traffic.tables import MonthLedger


def take_totals(session: Session, told: Mapping[str, Sequence[LedgerTotals]], now: datetime) -> None:
    """Bring the accounts of devices forward; what was told before changes nothing.

    Args:
        session: An open transaction.
        told: By device, in the order in which it came.
        now: The clock.
    """
    near = _months_about(now)
    wanted = select(MonthLedger).where(col(MonthLedger.device_id).in_(told), col(MonthLedger.month).in_(near))
    rows = {(row.device_id, row.month): row for row in session.exec(wanted.with_for_update()).all()} if told else {}
    for device_id, reports in told.items():
        for month in sorted(near & {month for one in reports for month in one.months}):
            row = rows.get((device_id, month))
            before = account_of(row) if row is not None else Account()
            after = _after(before, month, reports)
            if after != before:
                _keep(session, row, device_id, month, after, now)


def _months_about(now: datetime) -> set[str]:
    """Return the months of which a device may tell: the hub's and its neighbours, so that rows stay few."""
    present = month_of(now)
    before = now.astimezone(UTC).replace(day=1) - timedelta(days=1)
    return {month_of(before), present, month_of(next_month(present))}


def account_of(row: MonthLedger) -> Account:
    """Return a row as a value."""
    return Account(row.stream, _traffic(row.current), _traffic(row.earlier))


def _after(account: Account, month: str, reports: Iterable[LedgerTotals]) -> Account:
    for one in reports:
        if month in one.months:
            account = account.after(one.stream, one.months[month])
    return account


def _keep(
    session: Session, row: MonthLedger | None, device_id: str, month: str, account: Account, now: datetime
) -> None:
    current, earlier = _plain(account.current), _plain(account.earlier)
    if row is None:
        fresh = MonthLedger(
            device_id=device_id, month=month, stream=account.stream, current=current, earlier=earlier, told_at=now
        )
        add_unless_there(session, fresh)  # where another process was first, the next report brings it forward
        return
    row.stream, row.current, row.earlier, row.told_at = account.stream, current, earlier, now
    session.add(row)


def _traffic(kept: Mapping[str, Any]) -> dict[str, Traffic]:
    return {name: Traffic.model_validate(one) for name, one in kept.items()}


def _plain(categories: Mapping[str, Traffic]) -> dict[str, dict[str, int]]:
    return {name: one.model_dump() for name, one in categories.items()}
