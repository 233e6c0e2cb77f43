"""The table: one order under concurrency, append-only in the database, and each attack on it told by verifying."""

import threading
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy.exc import DBAPIError
from tests.hub.audit.trail import ADA, overpower, read, replace_all, run, write

from shoal_hub.audit.actor import ENROLMENT_ROLE, Actor
from shoal_hub.audit.anchor import AnchorFile, AuditSigner
from shoal_hub.audit.chain import Report, examine
from shoal_hub.audit.entry import START, hash_entry
from shoal_hub.audit.export import entries_of
from shoal_hub.audit.key import read_public
from shoal_hub.audit.record import record
from shoal_hub.database import Database

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def signer(database: Database, tmp_path: Path) -> AuditSigner:
    file = AnchorFile(tmp_path)
    return AuditSigner(database, tmp_path / "trust", file, lambda _: None, anchor_s=20, liveness_s=3600)


def verify(database: Database, folder: Path) -> Report:
    key = read_public(folder / "trust")
    return examine(entries_of(database), AnchorFile(folder).lines(), key, None)


def anchored(database: Database, signer: AuditSigner, count: int = 10) -> None:
    """Make a trail that an anchor covers."""
    write(database, count)
    assert signer.step(NOON)


def test_the_first_entry_begins_the_chain_and_each_names_the_one_before(database: Database) -> None:
    write(database, 3)
    entries = read(database)
    assert [one.sequence for one in entries] == [1, 2, 3]
    assert [one.previous_sha256 for one in entries] == [START, entries[0].sha256, entries[1].sha256]
    assert all(hash_entry(one) == one.sha256 for one in entries)
    assert entries[0].actor_address == "192.0.2.7"


def test_entries_of_many_writers_at_once_make_one_chain(
    database: Database, tmp_path: Path, signer: AuditSigner
) -> None:
    threads = [threading.Thread(target=write, args=(database, 5)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read(database)) == 40
    signer.step(NOON)
    assert verify(database, tmp_path).holds


def test_an_entry_shares_the_fate_of_its_transaction(database: Database) -> None:
    def fail() -> None:
        with database.transaction() as session:
            record(session, ADA, "x", "y", {}, {})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert read(database) == []


def test_text_that_no_database_keeps_is_made_readable(database: Database) -> None:
    with database.transaction() as session:
        record(session, Actor("a\x00", "\ud800", "r" * 999, ""), "x", "y" * 9999, {}, {"x": "\x00\ud800"})
    (entry,) = read(database)
    assert (entry.actor_id, entry.actor_name, len(entry.actor_role)) == ("a\\x00", "\\ud800", 256)
    assert hash_entry(entry) == entry.sha256


def test_the_hub_is_woken_for_what_people_and_it_do_but_not_for_each_device_that_enrols(database: Database) -> None:
    told: list[frozenset[str]] = []
    database.on_commit = told.append
    write(database, actor=Actor("et-1", "kitchen", ENROLMENT_ROLE))
    assert told == []
    write(database)
    write(database, actor=Actor.system("controller"))
    assert told == [frozenset({"audit"})] * 2


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_entries SET actor_name = 'eve' WHERE sequence = 2",
        "DELETE FROM audit_entries WHERE sequence = 2",
        "DELETE FROM audit_entries",
    ],
)
def test_the_database_itself_refuses_to_change_or_remove_an_entry(database: Database, statement: str) -> None:
    write(database, 3)
    before = read(database)
    with pytest.raises(DBAPIError, match="append-only"):
        run(database, statement)
    assert read(database) == before


def test_a_row_cannot_be_replaced_or_the_table_emptied_in_one_go(database: Database) -> None:
    write(database, 3)
    before = read(database)
    is_postgres = database.engine.dialect.name == "postgresql"
    replace_one = "REPLACE INTO audit_entries SELECT * FROM audit_entries WHERE sequence = 2"
    statement = "TRUNCATE audit_entries" if is_postgres else replace_one
    with pytest.raises(DBAPIError, match="append-only"):
        run(database, statement)
    assert read(database) == before


def test_an_edited_row_is_found(database: Database, tmp_path: Path, signer: AuditSigner) -> None:
    anchored(database, signer)
    overpower(database)
    run(database, "UPDATE audit_entries SET actor_name = 'eve' WHERE sequence = 4")
    assert [one.message for one in verify(database, tmp_path).findings] == [
        "entry 4 was edited: its hash is not that of its content"
    ]


def test_a_deleted_row_is_found(database: Database, tmp_path: Path, signer: AuditSigner) -> None:
    anchored(database, signer)
    overpower(database)
    run(database, "DELETE FROM audit_entries WHERE sequence = 4")
    assert [one.message for one in verify(database, tmp_path).findings] == ["gap: entry 4 is missing between 3 and 5"]


def test_a_cut_tail_is_found(database: Database, tmp_path: Path, signer: AuditSigner) -> None:
    anchored(database, signer)
    overpower(database)
    run(database, "DELETE FROM audit_entries WHERE sequence > 7")
    (finding,) = verify(database, tmp_path).findings
    assert (finding.kind, finding.first, finding.last) == ("cut", 8, 10)


def test_a_table_whose_chain_was_made_anew_after_an_edit_is_found(
    database: Database, tmp_path: Path, signer: AuditSigner
) -> None:
    anchored(database, signer, 5)
    write(database, 5)
    assert signer.step(NOON.replace(hour=13))
    entries = read(database)
    entries[6] = replace(entries[6], actor_name="eve")
    for index in range(6, 10):
        linked = replace(entries[index], previous_sha256=entries[index - 1].sha256)
        entries[index] = replace(linked, sha256=hash_entry(linked))
    overpower(database)
    replace_all(database, entries)
    (finding,) = verify(database, tmp_path).findings
    assert (finding.kind, finding.first, finding.last) == ("rewritten", 6, 10)
