"""States composed many at a time: few transactions, and one that cannot be composed is nobody else's matter."""

from datetime import timedelta
from pathlib import Path
from threading import Event, Thread

import pytest
from sqlmodel import Session, select
from tests.simulators.rows import NOON, add_device

from shoal_contract.artifact_ref import ArtifactRef
from shoal_contract.desired import DesiredModel
from shoal_hub.controller import compose_desired
from shoal_hub.controller.compose_desired import DesiredComposer
from shoal_hub.controller.election import FencedError
from shoal_hub.database import Database
from shoal_hub.devices.desired import stale_devices, take_marks
from shoal_hub.devices.intents import drop_intents, mark_stale, set_intent
from shoal_hub.devices.tables import DesiredRow
from shoal_hub.events.tables import EventRow
from shoal_hub.trust.director import Director
from shoal_hub.trust.version_keys import VersionKeys

LIFE = timedelta(days=30)
NO_NAME = "models/not a name"
BATCH = 7
WAIT_S = 20.0


@pytest.fixture
def composer(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DesiredComposer:
    monkeypatch.setattr(compose_desired, "BATCH", BATCH)
    return DesiredComposer(database, Director.open(tmp_path), VersionKeys.open(tmp_path), LIFE)


def want(session: Session, device_id: str, version: int = 1, section: str = "models/digits") -> None:
    manifest = ArtifactRef(sha256="0" * 64, size_bytes=1)
    body = DesiredModel(version=version, target="t", manifest=manifest, deployment="dp-1")
    set_intent(session, device_id, section, kind="rollout", owner="rollout/r-1", body=body, now=NOON)


def enrol(database: Database, count: int) -> list[str]:
    with database.transaction() as session:
        ids = [add_device(session).id for _ in range(count)]
        for device_id in ids:
            want(session, device_id)
    return ids


def step(composer: DesiredComposer) -> list[str]:
    return [device_id for new in composer.step(NOON) for device_id in new]


def composed(database: Database) -> set[str]:
    with database.session() as session:
        return set(session.exec(select(DesiredRow.device_id)).all())


def test_many_states_take_few_transactions(database: Database, composer: DesiredComposer) -> None:
    ids = enrol(database, 3 * BATCH)
    begun: list[Session] = []
    database.on_begin = begun.append
    assert sorted(step(composer)) == sorted(ids)
    assert len(begun) == 3
    assert composed(database) == set(ids)
    assert step(composer) == []


def test_one_that_cannot_be_composed_holds_up_no_other_and_is_told_once(
    database: Database, composer: DesiredComposer
) -> None:
    ids = enrol(database, 2 * BATCH)
    broken = sorted(ids)[:3]
    with database.transaction() as session:
        for device_id in broken:
            want(session, device_id, section=NO_NAME)
    assert sorted(step(composer)) == sorted(ids)[3:]
    assert step(composer) == []
    with database.session() as session:
        assert sorted(stale_devices(session, 100)) == broken
        told = session.exec(select(EventRow.device_id).where(EventRow.kind == "desired_broken")).all()
    assert sorted(str(one) for one in told) == broken


def test_a_state_that_is_larger_than_a_device_takes_is_not_signed_and_told(
    database: Database, composer: DesiredComposer, monkeypatch: pytest.MonkeyPatch
) -> None:
    large, other = enrol(database, 2)
    monkeypatch.setattr("shoal_hub.devices.desired.MAX_ENVELOPE_BYTES", 2000)
    with database.transaction() as session:
        for number in range(12):
            want(session, large, section=f"models/m{number}")
    assert step(composer) == [other]
    with database.session() as session:
        (told,) = session.exec(select(EventRow).where(EventRow.kind == "desired_broken")).all()
    assert (told.device_id, "a device takes at most 2000" in told.message) == (large, True)


def test_as_many_broken_ones_as_a_batch_has_do_not_starve_the_others(
    database: Database, composer: DesiredComposer
) -> None:
    broken = enrol(database, 2 * BATCH)
    with database.transaction() as session:
        for device_id in broken:
            want(session, device_id, section=NO_NAME)
    step(composer)
    begun: list[Session] = []
    others = enrol(database, BATCH)
    database.on_begin = begun.append
    assert sorted(step(composer)) == sorted(others)
    assert len(begun) <= len(broken) + 3  # the broken ones each alone, the others together


def test_one_that_was_broken_is_composed_once_it_is_mended(database: Database, composer: DesiredComposer) -> None:
    (device_id,) = enrol(database, 1)
    with database.transaction() as session:
        want(session, device_id, section=NO_NAME)
    assert step(composer) == []
    with database.transaction() as session:
        drop_intents(session, device_id, section=NO_NAME)
    assert step(composer) == [device_id]


def test_only_what_differs_is_signed_again(database: Database, composer: DesiredComposer) -> None:
    ids = sorted(enrol(database, BATCH))
    step(composer)
    with database.transaction() as session:
        want(session, ids[0], version=2)
        for device_id in ids[1:]:
            mark_stale(session, device_id)
    assert step(composer) == [ids[0]]


def test_a_controller_that_another_has_followed_composes_nothing(database: Database, composer: DesiredComposer) -> None:
    ids = enrol(database, 2)

    def fenced(_: Session) -> None:
        raise FencedError("another is in charge", "stand again")

    database.check = fenced
    with pytest.raises(FencedError):
        step(composer)
    database.check = None
    assert composed(database) == set()
    assert sorted(step(composer)) == sorted(ids)


@pytest.mark.postgres
@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
def test_a_mark_that_another_transaction_holds_is_left_and_not_waited_for(
    database: Database, composer: DesiredComposer
) -> None:
    held, *free = enrol(database, 3)
    is_held, may_end = Event(), Event()

    def change() -> None:
        with database.transaction() as session:
            want(session, held, version=2)
            session.flush()
            is_held.set()
            assert may_end.wait(WAIT_S)

    other = Thread(target=change)
    other.start()
    try:
        assert is_held.wait(WAIT_S)
        assert sorted(step(composer)) == sorted(free)
    finally:
        may_end.set()
        other.join()
    with database.session() as session:
        assert stale_devices(session, 10) == [held]
    assert step(composer) == [held]


def test_marks_are_taken_once(database: Database) -> None:
    ids = enrol(database, 3)
    with database.transaction() as session:
        assert sorted(take_marks(session, [*ids, "d-unknown"])) == sorted(ids)
        assert take_marks(session, ids) == []
