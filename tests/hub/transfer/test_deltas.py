"""Deltas at the hub, on both engines: made once a pair, offered when they stand, and never plain of what is secret."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlmodel import Session, select, update
from tests.simulators.delta_fleet import SIZE, TARGET, Fleet, file_of, fleet_on_version_1
from tests.simulators.rows import NOON, add_version

from shoal_contract import topics
from shoal_contract.encryption import TAG_BYTES, decrypt_file, delta_key
from shoal_contract.errors import EncryptionError
from shoal_contract.ids import sha256_hex
from shoal_contract.telemetry import DeploymentEvent, MissingArtifact
from shoal_hub.context import HubContext
from shoal_hub.errors import ArtifactError
from shoal_hub.jobs.tables import Job
from shoal_hub.registry.encrypt import VersionRef, open_version_key
from shoal_hub.registry.tables import Artifact, Version
from shoal_hub.rollouts.owner import owner_of
from shoal_hub.rollouts.progress import note_steps
from shoal_hub.rollouts.start import start_rollout, starter_of
from shoal_hub.rollouts.tables import Deployment
from shoal_hub.transfer.deltas import end_unwanted_deltas, has_deltas_to_come, want_deltas
from shoal_hub.transfer.needs import take_missing
from shoal_hub.transfer.tables import Lease, Retained
from shoal_numerics.delta import apply_delta


@pytest.fixture
def fleet(hub: HubContext, tmp_path: Path) -> Fleet:
    return fleet_on_version_1(hub, tmp_path)


def test_a_delta_is_made_published_and_then_named_by_the_manifest_of_the_file_that_it_leads_to(fleet: Fleet) -> None:
    fleet.roll_out(2)
    fleet.publish()
    assert fleet.manifest_of(2).deltas == {}
    fleet.do_jobs()
    fleet.broker.order.clear()
    fleet.publish()
    delta = fleet.manifest_of(2).deltas[fleet.travels(1)]
    assert (delta.encrypted, delta.size_bytes < SIZE / 10) == (None, True)
    assert apply_delta(file_of(1), fleet.hub.artifacts.read(delta.sha256), SIZE) == file_of(2)
    assert fleet.broker.order == [
        topics.artifact_chunk(delta.sha256, 0),
        topics.artifact_manifest(delta.sha256),
        topics.artifact_manifest(fleet.travels(2)),
    ]


def test_no_device_is_told_before_the_deltas_stand_and_then_each_is(fleet: Fleet) -> None:
    fleet.roll_out(2)
    fleet.publish()
    assert fleet.states() == ["pending"]
    fleet.do_jobs()
    assert fleet.states() == ["pending"], "made, but not at the broker"
    fleet.publish()
    assert fleet.states() == ["assigned"]


def test_a_rollout_goes_on_with_whole_files_when_the_wait_is_over(fleet: Fleet) -> None:
    fleet.roll_out(2)
    fleet.publish()
    wait_s = fleet.hub.settings.delta_wait_s
    assert fleet.states(wait_s - 5) == ["pending"]
    assert fleet.states(wait_s + 5) == ["assigned"]
    fleet.do_jobs()
    fleet.publish()
    assert fleet.manifest_of(2).deltas, "later devices still find it"


def test_a_delta_that_is_no_smaller_is_useless_and_holds_nothing_up(hub: HubContext, tmp_path: Path) -> None:
    fleet = Fleet(hub, tmp_path)
    with hub.database.transaction() as session:
        add_version(session, hub.artifacts, 4, {TARGET: file_of(4, is_new=True)})
    fleet.report(fleet.ids[0], 1)
    fleet.roll_out(4)
    fleet.publish()
    fleet.do_jobs()
    assert [one.state for one in fleet.deltas()] == ["useless"]
    assert fleet.states() == ["assigned"]
    assert fleet.manifest_of(4).deltas == {}
    fleet.end()
    fleet.roll_out(4)
    with hub.database.session() as session:
        assert len(session.exec(select(Job)).all()) == 1, "it is not made again"


def test_a_delta_that_failed_says_why_holds_nothing_up_and_is_made_for_the_next_rollout(fleet: Fleet) -> None:
    path = fleet.hub.artifacts.local_path(sha256_hex(file_of(1)))
    assert path is not None
    path.rename(path.with_suffix(".gone"))
    fleet.roll_out(2)
    fleet.publish()
    with pytest.raises(ArtifactError):
        fleet.do_jobs()
    (row,) = fleet.deltas()
    assert (row.state, "is not in the store" in row.why) == ("failed", True)
    assert fleet.states() == ["assigned"]

    path.with_suffix(".gone").rename(path)
    fleet.end()
    fleet.roll_out(2)
    fleet.do_jobs()
    assert [one.state for one in fleet.deltas()] == ["made"]


def test_a_delta_whose_rollout_has_ended_is_given_up_and_made_for_the_next_one(fleet: Fleet) -> None:
    fleet.roll_out(2)
    end_unwanted_deltas(fleet.hub.database)
    assert [one.state for one in fleet.deltas()] == ["making"], "its rollout runs"
    fleet.end()
    end_unwanted_deltas(fleet.hub.database)
    (row,) = fleet.deltas()
    assert row.state == "failed"
    with fleet.hub.database.session() as session:
        (job,) = session.exec(select(Job)).all()
    assert (job.state, job.error) == ("failed", "every rollout that wanted the delta has ended")
    end_unwanted_deltas(fleet.hub.database)  # and again changes nothing

    fleet.roll_out(2)
    fleet.do_jobs()
    assert [one.state for one in fleet.deltas()] == ["made"]


def test_a_job_that_was_lost_without_a_word_holds_nothing_up(fleet: Fleet) -> None:
    fleet.roll_out(2)
    fleet.publish()
    with fleet.hub.database.transaction() as session:
        session.connection().execute(update(Job).values(state="failed"))
    assert [one.state for one in fleet.deltas()] == ["making"]
    assert fleet.states() == ["assigned"]
    fleet.end()
    fleet.roll_out(2)
    fleet.do_jobs()
    assert [one.state for one in fleet.deltas()] == ["made"]


def test_a_delta_is_made_once_and_stands_from_the_start_of_a_later_rollout(fleet: Fleet) -> None:
    fleet.roll_out(2)
    fleet.do_jobs()
    fleet.publish()
    fleet.end()
    fleet.publish(after_s=60)
    (row,) = fleet.deltas()
    assert topics.artifact_manifest(row.artifact_sha256 or "") not in fleet.broker.retained
    fleet.roll_out(2)
    fleet.publish(after_s=61)
    with fleet.hub.database.session() as session:
        assert len(session.exec(select(Job)).all()) == 1
    assert fleet.manifest_of(2).deltas.keys() == {fleet.travels(1)}
    assert fleet.states() == ["assigned"]


def test_two_rollouts_that_ask_for_the_same_delta_at_once_both_start(fleet: Fleet) -> None:
    """Two models that share their files; PostgreSQL lets both see that nobody has asked yet."""
    pair, begun = {(fleet.travels(1), fleet.travels(2))}, threading.Event()

    def ask_too() -> list[str]:
        with fleet.hub.database.transaction() as session:
            begun.set()
            return want_deltas(session, pair, subject="models/other/2", by="ada")

    with ThreadPoolExecutor(1) as pool:
        with fleet.hub.database.transaction() as session:
            want_deltas(session, pair, subject="models/digits/2", by="ada")
            asking = pool.submit(ask_too)
            if begun.wait(0.3):  # on SQLite it waits for this transaction even to begin
                time.sleep(0.3)  # until it waits for the row, which nobody tells of
        assert asking.result(20) == []
    fleet.do_jobs()
    assert [one.state for one in fleet.deltas()] == ["made"]


def test_a_delta_that_is_withdrawn_is_named_no_longer(fleet: Fleet) -> None:
    fleet.roll_out(2)
    fleet.do_jobs()
    fleet.publish()
    (row,) = fleet.deltas()
    with fleet.hub.database.transaction() as session:
        for lease in session.exec(select(Lease).where(Lease.sha256 == row.artifact_sha256)).all():
            session.delete(lease)
    fleet.publish()
    assert fleet.manifest_of(2).deltas == {}


def test_a_broker_that_lost_everything_gets_the_deltas_again_and_they_are_named(fleet: Fleet) -> None:
    fleet.roll_out(2)
    fleet.do_jobs()
    fleet.publish()
    before = dict(fleet.broker.retained)
    fleet.broker.retained.clear()
    fleet.transfers.assert_all()
    fleet.publish()
    assert fleet.broker.retained == before
    assert fleet.manifest_of(2).deltas.keys() == {fleet.travels(1)}


def test_a_delta_for_which_there_is_no_room_at_the_broker_is_kept_for_later(fleet: Fleet) -> None:
    object.__setattr__(fleet.hub.settings, "retained_budget_bytes", SIZE + 3000)
    fleet.roll_out(2)
    fleet.publish()
    object.__setattr__(fleet.hub.settings, "retained_budget_bytes", SIZE)
    fleet.do_jobs()
    fleet.publish()
    assert fleet.manifest_of(2).deltas == {}
    assert fleet.states() == ["assigned"]
    assert [one.state for one in fleet.deltas()] == ["made"]


def test_deltas_give_way_to_the_whole_files_of_another_rollout(fleet: Fleet) -> None:
    """The first one may stay open for long, by a device that is away."""
    rollout_id = fleet.roll_out(2)
    fleet.do_jobs()
    fleet.publish()
    assert fleet.manifest_of(2).deltas != {}
    other = {TARGET: file_of(9, is_new=True)}
    with fleet.hub.database.transaction() as session:
        add_version(session, fleet.hub.artifacts, 1, other, model="other")
    budget = replace(starter_of(fleet.hub), retained_budget_bytes=2 * (SIZE + 1000))
    with fleet.hub.database.transaction() as session:
        start_rollout(session, budget, model="other", version="1", devices=fleet.ids, by="ada")
    fleet.publish()
    assert fleet.manifest_of(2).deltas == {}
    with fleet.hub.database.session() as session:
        assert not has_deltas_to_come(session, owner_of(rollout_id))
        assert fleet.travels(2) in session.exec(select(Lease.sha256)).all()


def test_a_device_that_finds_its_delta_silent_has_it_published_again(fleet: Fleet) -> None:
    fleet.roll_out(2)
    fleet.do_jobs()
    fleet.publish()
    fleet.states()
    (row,) = fleet.deltas()
    fleet.broker.order.clear()
    with fleet.hub.database.transaction() as session:
        missing = MissingArtifact(sha256=row.artifact_sha256 or "", detail="silent")
        take_missing(session, fleet.ids[0], missing, NOON)
    fleet.publish()
    assert topics.artifact_chunk(row.artifact_sha256 or "", 0) in fleet.broker.order


SECRET = [(1, 2), (1,), (2,)]


@pytest.mark.parametrize("encrypted", SECRET, ids=["both", "the old one", "the new one"])
def test_of_a_secret_version_neither_the_file_nor_a_delta_is_ever_leased_or_stored_plain(
    hub: HubContext, tmp_path: Path, encrypted: tuple[int, ...]
) -> None:
    fleet = Fleet(hub, tmp_path, encrypted=encrypted)
    fleet.report(fleet.ids[0], 1)
    fleet.roll_out(2)
    fleet.do_jobs()
    fleet.publish()
    assert fleet.states() == ["assigned"]
    delta = fleet.manifest_of(2).deltas[fleet.travels(1)]
    assert delta.encrypted is not None
    assert delta.encrypted.size_bytes == delta.size_bytes + TAG_BYTES
    with hub.database.session() as session:
        leased = set(session.exec(select(Lease.sha256)).all()) | set(session.exec(select(Retained.sha256)).all())
        stored = set(session.exec(select(Artifact.sha256)).all())
        keys = {number: _key(session, hub, number) for number in encrypted}
    secret = {delta.sha256} | {sha256_hex(file_of(number)) for number in encrypted}
    assert delta.encrypted.sha256 in leased
    assert leased & secret == set()
    assert delta.sha256 not in stored
    assert not hub.artifacts.has(delta.sha256)
    sent = list(fleet.broker.retained.values())
    for number in encrypted:
        assert not any(file_of(number)[:32] in payload for payload in sent)

    sealed = hub.artifacts.read(delta.encrypted.sha256)
    patch = decrypt_file(sealed, _both(keys), delta.sha256, delta.size_bytes)
    assert apply_delta(file_of(1), patch, SIZE) == file_of(2)
    assert not any(patch[88:120] in payload for payload in sent)
    for key in keys.values() if len(keys) == 2 else ():
        for alone in (key, delta_key(key, None)):
            assert alone is not None
            with pytest.raises(EncryptionError):
                decrypt_file(sealed, alone, delta.sha256, delta.size_bytes)


def _key(session: Session, hub: HubContext, number: int) -> bytes:
    version = session.exec(select(Version).where(Version.number == number)).one()
    key = open_version_key(session, hub.version_keys, VersionRef.of(version))
    assert key is not None
    return key


def _both(keys: dict[int, bytes]) -> bytes:
    key = delta_key(keys.get(1), keys.get(2))
    assert key is not None
    return key


def test_what_travelled_is_shown_against_the_whole_file_and_a_later_word_takes_nothing_back(
    client: TestClient, hub: HubContext, tmp_path: Path
) -> None:
    fleet = Fleet(hub, tmp_path, count=2)
    for device_id in fleet.ids:
        fleet.report(device_id, 1)
    rollout_id = fleet.roll_out(2)
    shown = client.get(f"/api/v1/rollouts/{rollout_id}").json()
    assert (shown["is_waiting_for_deltas"], shown["fetched_bytes"], shown["whole_bytes"]) == (True, 0, 0)
    fleet.do_jobs()
    fleet.publish()
    fleet.states()

    with hub.database.transaction() as session:
        mine = session.exec(select(Deployment).where(Deployment.rollout_id == rollout_id)).all()
        first = next(one for one in mine if one.device_id == fleet.ids[0])
        told = [("fetch", 0), ("verify", 3000), ("verify", 0), ("commit", 3000)]
        for step, fetched in told:
            note_steps(session, [(fleet.ids[0], _event(first.id, step, fetched))], NOON)
        note_steps(session, [(fleet.ids[1], _event(first.id, "commit", 99_999))], NOON)  # another's deployment
    shown = client.get(f"/api/v1/rollouts/{rollout_id}").json()
    assert (shown["is_waiting_for_deltas"], shown["fetched_bytes"], shown["whole_bytes"]) == (False, 3000, SIZE)
    by_device = {one["device_id"]: (one["fetched_bytes"], one["whole_bytes"]) for one in shown["deployments"]}
    assert by_device == {fleet.ids[0]: (3000, SIZE), fleet.ids[1]: (None, SIZE)}


def _event(deployment: str, step: Any, fetched_bytes: int) -> DeploymentEvent:
    return DeploymentEvent(model="digits", version=2, deployment=deployment, step=step, fetched_bytes=fetched_bytes)
