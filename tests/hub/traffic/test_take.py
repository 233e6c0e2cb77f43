"""What devices tell of their byte ledgers, many at once: each account moves as it would alone."""

from sqlmodel import select
from tests.hub.statements import statements
from tests.simulators.rows import NOON, add_device

from shoal_contract.ledger import LedgerTotals, Traffic
from shoal_hub.database import Database
from shoal_hub.traffic.tables import MonthLedger
from shoal_hub.traffic.take import account_of, take_totals

MONTH = "2026-01"


def totals(received: int, stream: int = 1, month: str = MONTH) -> LedgerTotals:
    return LedgerTotals(stream=stream, months={month: {"control": Traffic(received_bytes=received)}})


def received(database: Database) -> dict[tuple[str, str], int]:
    with database.session() as session:
        rows = session.exec(select(MonthLedger)).all()
    return {(row.device_id, row.month): account_of(row).total["control"].received_bytes for row in rows}


def test_many_devices_old_and_new_are_taken_with_a_statement_of_each_kind(database: Database) -> None:
    with database.transaction() as session:
        ids = sorted(add_device(session).id for _ in range(60))
    with database.transaction() as session:
        take_totals(session, {one: [totals(5)] for one in ids[:30]}, NOON)
    with statements(database) as seen, database.transaction() as session:
        take_totals(session, {one: [totals(7), totals(9)] for one in ids}, NOON)
    assert sorted(seen) == ["INSERT", "SELECT", "UPDATE"]
    assert received(database) == {(one, MONTH): 9 for one in ids}


def test_what_is_not_new_is_not_written(database: Database) -> None:
    with database.transaction() as session:
        device_id = add_device(session).id
        take_totals(session, {device_id: [totals(9)]}, NOON)
    with statements(database) as seen, database.transaction() as session:
        take_totals(session, {device_id: [totals(9), totals(3)]}, NOON)
        take_totals(session, {}, NOON)
    assert seen == ["SELECT"]


def test_a_ledger_that_was_lost_is_added_to_the_one_before(database: Database) -> None:
    with database.transaction() as session:
        device_id = add_device(session).id
        take_totals(session, {device_id: [totals(9), totals(4, stream=2)]}, NOON)
    with database.transaction() as session:
        take_totals(session, {device_id: [totals(6, stream=2), totals(100, stream=1)]}, NOON)
    assert received(database) == {(device_id, MONTH): 15}


def test_a_month_far_from_now_opens_no_account(database: Database) -> None:
    with database.transaction() as session:
        device_id = add_device(session).id
        take_totals(session, {device_id: [totals(9, month="2030-01"), totals(9, month="2025-12")]}, NOON)
    assert received(database) == {(device_id, "2025-12"): 9}
