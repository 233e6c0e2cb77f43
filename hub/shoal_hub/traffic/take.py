"""Takes what devices tell of their byte ledgers into the database."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import String, bindparam, update
from sqlalchemy import select as select_columns
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, col

from shoal_contract.ledger import LedgerTotals, Traffic, month_of, next_month
from shoal_hub.bulk import Bulk, Query
from shoal_hub.database import as_texts, is_among
from shoal_hub.traffic.account import Account
from shoal_hub.traffic.tables import MonthLedger


def take_totals(session: Session, told: Mapping[str, Sequence[LedgerTotals]], now: datetime) -> None:
    """Bring the accounts of devices forward; what was told before changes nothing.

    Args:
        session: An open transaction.
        told: By device, in the order in which it came.
        now: The clock.
    """
    if not told:
        return
    near = _months_about(now)
    kept = _accounts(session, told, near)
    fresh: list[dict[str, Any]] = []
    changed: list[dict[str, Any]] = []
    for device_id, reports in sorted(told.items()):
        for month in sorted(near & {month for one in reports for month in one.months}):
            before = kept.get((device_id, month))
            after = _after(before or Account(), month, reports)
            if before is None and after != Account():
                fresh.append({"device_id": device_id, "month": month} | _values(after, now))
            elif before is not None and after != before:
                changed.append({"of_device": device_id, "of_month": month} | _values(after, now))
    _CHANGE.execute(session, changed)
    # Where another process was first, the next report brings it forward.
    _ADD[session.connection().dialect.name].execute(session, fresh)


def _accounts(session: Session, device_ids: Iterable[str], months: Iterable[str]) -> dict[tuple[str, str], Account]:
    """Return the accounts that there are, by device and month, and keep their rows locked in the order of both."""
    return {
        (device_id, month): Account(stream, _traffic(current), _traffic(earlier))
        for device_id, month, stream, current, earlier in _KEPT.rows(
            session, ids=as_texts(device_ids), months=as_texts(months)
        )
    }


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


def _values(account: Account, now: datetime) -> dict[str, Any]:
    return {
        "stream": account.stream,
        "current": _plain(account.current),
        "earlier": _plain(account.earlier),
        "told_at": now,
    }


def _traffic(kept: Mapping[str, Any]) -> dict[str, Traffic]:
    return {name: Traffic.model_validate(one) for name, one in kept.items()}


def _plain(categories: Mapping[str, Traffic]) -> dict[str, dict[str, int]]:
    return {name: one.model_dump() for name, one in categories.items()}


def _insert_unless_there(insert: Callable[[type[MonthLedger]], Any]) -> Bulk:
    names = ("device_id", "month", *_VALUES)
    statement = insert(MonthLedger).values({name: bindparam(name) for name in names})
    return Bulk(statement.on_conflict_do_nothing(index_elements=["device_id", "month"]))


_VALUES: Final = ("stream", "current", "earlier", "told_at")
_ADD: Final = {
    "postgresql": _insert_unless_there(postgresql.insert),
    "sqlite": _insert_unless_there(sqlite.insert),
}
_CHANGE: Final = Bulk(
    update(MonthLedger)
    .where(col(MonthLedger.device_id) == bindparam("of_device"), col(MonthLedger.month) == bindparam("of_month"))
    .values({name: bindparam(name) for name in _VALUES})
)
_COLUMNS: Final[list[Any]] = [
    getattr(MonthLedger, name) for name in ("device_id", "month", "stream", "current", "earlier")
]
_KEPT: Final = Query(
    select_columns(*_COLUMNS)
    .where(
        is_among(col(MonthLedger.device_id), bindparam("ids", type_=String())),
        is_among(col(MonthLedger.month), bindparam("months", type_=String())),
    )
    .order_by(col(MonthLedger.device_id), col(MonthLedger.month))
    .with_for_update()
)
