"""Rounds over the fleet's database, on both engines; the devices' part is played by rows that a thread adds."""

import json
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlmodel import Session, select
from tests.hub.registry.bundles import record, register_bundle, write_bundle
from tests.simulators.rows import add_device, make_report

from shoal_contract.desired import DesiredRound
from shoal_contract.telemetry import BlobOffer, RoundResult
from shoal_hub.context import HubContext
from shoal_hub.database import utc_now
from shoal_hub.devices.revocation import revoke
from shoal_hub.devices.tables import Device, Intent
from shoal_hub.errors import ConflictError, InvalidInputError, JobError
from shoal_hub.events.tables import EventRow
from shoal_hub.federation.answers import MAX_UPLOADS_A_ROUND, refusal_of, take_result
from shoal_hub.federation.close import close_orphans
from shoal_hub.federation.rounds import RoundExchange, StoppedError, Weights
from shoal_hub.federation.run import FederatedJob
from shoal_hub.federation.run import run as play_run
from shoal_hub.federation.start import RunRequest, start_run, stop_run
from shoal_hub.federation.tables import FederatedRun, RoundAnswer
from shoal_hub.jobs.queue import finish
from shoal_hub.jobs.tables import Job
from shoal_hub.jobs.work import JobWork
from shoal_hub.registry.artifacts import store_artifact
from shoal_hub.registry.versions import find_version
from shoal_hub.transfer.tables import Lease, Upload
from shoal_numerics import encode_update

BASE: Weights = [np.zeros((3, 2), dtype=np.float32), np.ones(2, dtype=np.float32)]


@pytest.fixture
def devices(hub: HubContext, tmp_path: Path) -> list[str]:
    """Three devices with the dataset, and one without; a version that can be trained."""
    folder = write_bundle(tmp_path / "bundle")
    (folder / "trainer.tflite").write_bytes(b"\x00\x00\x00\x00TFL3" + bytes(20))
    bundle = json.loads((folder / "bundle.json").read_text())
    bundle["files"]["trainer.tflite"] = record(folder / "trainer.tflite")
    (folder / "bundle.json").write_text(json.dumps(bundle))
    register_bundle(hub, folder)
    with hub.database.transaction() as session:
        report = make_report(datasets={"colours": 40}).model_dump(mode="json")
        ids = [add_device(session, reported=report).id for _ in range(3)]
        add_device(session, reported=make_report().model_dump(mode="json"))
    return sorted(ids)


def start(hub: HubContext, **changes: Any) -> FederatedRun:
    with hub.database.transaction() as session:
        request = RunRequest(model="colours", **changes)
        return start_run(session, hub.artifacts, request, by="ada", now=utc_now())


def answer(hub: HubContext, run: str, device_id: str, weights: Weights, number: int = 1, examples: int = 10) -> None:
    """Do what ingest does when a device has trained."""
    update = encode_update(weights, BASE, "float32")
    with hub.database.transaction() as session:
        stored = store_artifact(session, hub.artifacts, update)
        result = RoundResult(
            run=run,
            round=number,
            outcome="trained",
            update_sha256=stored.sha256,
            update_bytes=stored.size_bytes,
            examples=examples,
            loss_before=1.0,
            loss_after=0.5,
        )
        take_result(session, device_id, result, utc_now())


def once_open(hub: HubContext, then: Callable[[Sequence[str]], None]) -> threading.Thread:
    """Call `then` with the devices that are asked, as soon as a round is open."""

    def wait() -> None:
        while True:
            with hub.database.session() as session:
                asked = sorted(session.exec(select(Intent.device_id)).all())
            if asked:
                then(asked)
                return
            tick.wait(0.02)

    tick = threading.Event()
    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def intents(session: Session) -> list[Intent]:
    return list(session.exec(select(Intent)))


def test_a_round_asks_the_devices_with_the_dataset_and_returns_what_they_trained(
    hub: HubContext, devices: list[str]
) -> None:
    run = start(hub)
    exchange = RoundExchange(hub.database, hub.artifacts, run.id)
    seen: list[DesiredRound] = []

    def train(asked: Sequence[str]) -> None:
        with hub.database.session() as session:
            seen.extend(DesiredRound.model_validate(intent.body) for intent in intents(session))
            assert {lease.user for lease in session.exec(select(Lease))} == {exchange.owner, f"{exchange.owner}/1"}
        for index, device_id in enumerate(asked):
            answer(hub, run.id, device_id, [BASE[0] + index, BASE[1]], examples=10 + index)

    thread = once_open(hub, train)
    answers = exchange.play(1, BASE, devices)
    thread.join()

    assert [one.device_id for one in answers] == devices
    assert [one.examples for one in answers] == [10, 11, 12]
    np.testing.assert_array_equal(answers[2].weights[0], BASE[0] + 2)
    assert {(one.run, one.round, one.dataset) for one in seen} == {(run.id, 1, "colours")}
    with hub.database.session() as session:
        row = session.get_one(FederatedRun, run.id)
        assert (row.history[0]["trained"], row.history[0]["examples"]) == (3, 33)


def test_the_end_of_a_run_takes_back_intents_and_leases(hub: HubContext, devices: list[str]) -> None:
    run = start(hub)
    exchange = RoundExchange(hub.database, hub.artifacts, run.id)
    thread = once_open(hub, lambda asked: [answer(hub, run.id, one, BASE) for one in asked] and None)
    exchange.play(1, BASE, devices)
    thread.join()

    exchange.end()

    with hub.database.session() as session:
        assert intents(session) == []
        assert session.exec(select(Lease)).all() == []


def test_a_poisoned_update_is_dropped_with_an_event_and_the_others_count(hub: HubContext, devices: list[str]) -> None:
    run = start(hub)

    def train(asked: Sequence[str]) -> None:
        for device_id in asked[:2]:
            answer(hub, run.id, device_id, BASE)
        with hub.database.transaction() as session:
            bad = store_artifact(session, hub.artifacts, b"SHU1 but not an update")
            fields = {"run": run.id, "round": 1, "outcome": "trained", "update_sha256": bad.sha256}
            take_result(session, asked[2], RoundResult(**fields, update_bytes=bad.size_bytes), utc_now())

    thread = once_open(hub, train)
    answers = RoundExchange(hub.database, hub.artifacts, run.id).play(1, BASE, devices)
    thread.join()

    assert [one.device_id for one in answers] == devices[:2]
    with hub.database.session() as session:
        (event,) = session.exec(select(EventRow).where(EventRow.kind == "update_dropped"))
        assert event.device_id == devices[2]


def test_a_round_does_not_wait_for_an_update_that_was_refused(hub: HubContext, devices: list[str]) -> None:
    run = start(hub, deadline_s=60.0)

    def train(asked: Sequence[str]) -> None:
        for device_id in asked[:2]:
            answer(hub, run.id, device_id, BASE)
        with hub.database.transaction() as session:
            session.add(
                Upload(
                    sha256="0" * 64,
                    device_id=asked[2],
                    size_bytes=1,
                    chunk_bytes=16384,
                    purpose="federated_update",
                    state="refused",
                    changed_at=utc_now(),
                )
            )
            fields = {"run": run.id, "round": 1, "outcome": "trained", "update_sha256": "0" * 64, "update_bytes": 1}
            take_result(session, asked[2], RoundResult(**fields), utc_now())

    thread = once_open(hub, train)
    began_s = time.monotonic()
    answers = RoundExchange(hub.database, hub.artifacts, run.id).play(1, BASE, devices)
    thread.join()

    assert time.monotonic() - began_s < 30
    assert [one.device_id for one in answers] == devices[:2]
    with hub.database.session() as session:
        (event,) = session.exec(select(EventRow).where(EventRow.kind == "update_dropped"))
        assert event.device_id == devices[2]


def test_a_run_whose_process_was_killed_is_closed_and_wants_nothing_any_more(
    hub: HubContext, devices: list[str]
) -> None:
    run = start(hub)
    exchange = RoundExchange(hub.database, hub.artifacts, run.id)
    exchange._open(1, BASE, devices)
    with hub.database.transaction() as session:
        session.get_one(Job, run.job_id).state = "running"
    close_orphans(hub.database)
    with hub.database.transaction() as session:
        assert len(intents(session)) == 3  # its job lives
        finish(session, run.job_id, error="its process ended with status -9")

    close_orphans(hub.database)

    with hub.database.session() as session:
        row = session.get_one(FederatedRun, run.id)
        assert (row.state, row.reason) == ("failed", "its process ended with status -9")
        assert row.ended_at is not None
        assert intents(session) == []
        assert session.exec(select(Lease)).all() == []


def test_a_run_that_fails_of_what_nobody_foresaw_says_so_to_whoever_watches(
    sqlite_hub: HubContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with sqlite_hub.database.transaction() as session:
        session.add(
            FederatedRun(
                id="f-odd", model="colours", base_version=1, dataset="colours", devices=[], rounds=1, min_devices=1,
                epochs=1, batch_size=1, learning_rate=0.1, update_scheme="float32", parent_share=0.0, deadline_s=1.0,
                job_id="j-odd", created_by="ada", created_at=utc_now(),
            )
        )  # fmt: skip
    work = JobWork(
        job_id="j-odd",
        params={"run": "f-odd"},
        created_by="ada",
        folder=tmp_path,
        settings=sqlite_hub.settings,
        database=sqlite_hub.database,
        artifacts=sqlite_hub.artifacts,
    )
    monkeypatch.setattr(FederatedJob, "execute", lambda *_: 1 // 0)

    with pytest.raises(ZeroDivisionError):
        play_run(work)

    with sqlite_hub.database.session() as session:
        row = session.get_one(FederatedRun, "f-odd")
        assert row.state == "failed"
        assert "division" in row.reason


def test_the_deadline_ends_a_round_with_whoever_answered(hub: HubContext, devices: list[str]) -> None:
    run = start(hub, deadline_s=3.0)
    thread = once_open(hub, lambda asked: answer(hub, run.id, asked[0], BASE))

    answers = RoundExchange(hub.database, hub.artifacts, run.id).play(1, BASE, devices)

    thread.join()
    assert [one.device_id for one in answers] == devices[:1]


def test_a_restarted_round_counts_the_answers_that_are_there(hub: HubContext, devices: list[str]) -> None:
    run = start(hub)
    for device_id in devices:
        answer(hub, run.id, device_id, BASE)

    answers = RoundExchange(hub.database, hub.artifacts, run.id).play(1, BASE, devices)

    assert len(answers) == 3
    with hub.database.session() as session:
        assert intents(session) == []  # nobody is asked twice


def test_a_stop_ends_the_open_round(hub: HubContext, devices: list[str]) -> None:
    run = start(hub)

    def stop(_asked: Sequence[str]) -> None:
        with hub.database.transaction() as session:
            stop_run(session, session.get_one(FederatedRun, run.id), by="ada", now=utc_now())

    thread = once_open(hub, stop)
    with pytest.raises(StoppedError, match="was stopped in round 1"):
        RoundExchange(hub.database, hub.artifacts, run.id).play(1, BASE, devices)
    thread.join()


def test_the_first_answer_counts_and_uninvited_ones_are_dropped(hub: HubContext, devices: list[str]) -> None:
    run = start(hub, devices=devices[:2])
    answer(hub, run.id, devices[0], BASE, examples=10)
    answer(hub, run.id, devices[0], BASE, examples=99)
    answer(hub, run.id, devices[2], BASE)
    answer(hub, "f-none", devices[0], BASE)
    answer(hub, run.id, devices[1], BASE, number=4)

    with hub.database.session() as session:
        (row,) = session.exec(select(RoundAnswer))
        assert (row.device_id, row.examples) == (devices[0], 10)
        assert len(session.exec(select(EventRow).where(EventRow.kind == "round_uninvited")).all()) == 3


def test_a_blob_is_refused_without_an_open_round_and_above_its_bound(hub: HubContext, devices: list[str]) -> None:
    offer = BlobOffer(sha256="0" * 64, size_bytes=100, chunk_bytes=131072)
    other = {
        "device_id": devices[0],
        "size_bytes": 1,
        "chunk_bytes": 1,
        "purpose": "federated_update",
        "state": "stored",
    }
    with hub.database.session() as session:
        assert "no federated round" in refusal_of(session, devices[0], offer)
    run = start(hub)
    found: list[str] = []

    def ask(asked: Sequence[str]) -> None:
        with hub.database.session() as session:
            found.append(refusal_of(session, asked[0], offer))
            found.append(refusal_of(session, asked[0], offer.model_copy(update={"size_bytes": 10**7})))
        with hub.database.transaction() as session:
            for index in range(MAX_UPLOADS_A_ROUND):
                session.add(Upload(sha256=f"{index}" * 63, **other, changed_at=utc_now()))
            session.flush()
            found.append(refusal_of(session, asked[0], offer))
        for device_id in asked:
            answer(hub, run.id, device_id, BASE)

    thread = once_open(hub, ask)
    RoundExchange(hub.database, hub.artifacts, run.id).play(1, BASE, devices)
    thread.join()
    assert found[0] == ""
    assert "the round takes at most" in found[1]
    assert "4 other blobs came in this round already" in found[2]


@pytest.mark.usefixtures("devices")
def test_a_run_from_an_encrypted_version_is_refused_as_its_weights_would_travel_in_plain(
    hub: HubContext,
    devices: list[str],  # noqa: ARG001 - and the version
) -> None:
    with hub.database.transaction() as session:
        find_version(session, "colours", "1").is_encrypted = True
    with pytest.raises(ConflictError, match="travel in plain"):
        start(hub)


@pytest.mark.usefixtures("devices")
def test_a_run_that_can_not_work_is_refused_before_any_device_is_asked(hub: HubContext) -> None:
    with pytest.raises(InvalidInputError, match="3 devices have the dataset colours, the run needs at least 4"):
        start(hub, min_devices=4)
    with pytest.raises(InvalidInputError, match="0 devices"):
        start(hub, devices=[])
    with pytest.raises(InvalidInputError, match="there is no device d-none"):
        start(hub, devices=["d-none"])
    start(hub)
    with pytest.raises(ConflictError, match="is still running"):
        start(hub)
    with hub.database.session() as session:
        assert intents(session) == []
        assert len(session.exec(select(Device)).all()) == 4


def test_a_round_with_too_few_trained_devices_fails_the_run() -> None:
    from flwr.serverapp.strategy import FedAvg

    from shoal_hub.federation.grid import FleetGrid, to_arrays

    grid = FleetGrid(["d-a", "d-b"], lambda _number, _weights, _devices: [], min_devices=2)
    with pytest.raises(JobError, match="round 1: 0 of 2 devices trained, at least 2 wanted"):
        FedAvg(fraction_evaluate=0.0).start(grid, to_arrays(BASE), num_rounds=1)


def test_a_strategy_that_sends_single_messages_is_told_what_works() -> None:
    from shoal_hub.federation.grid import FleetGrid

    grid = FleetGrid(["d-a"], lambda _number, _weights, _devices: [], min_devices=1)
    for misuse in (lambda: grid.push_messages([]), lambda: grid.pull_messages([]), lambda: grid.run):
        with pytest.raises(JobError, match="send_and_receive alone"):
            misuse()


def test_a_round_asks_no_revoked_device_waits_for_none_and_counts_no_answer_of_one(
    hub: HubContext, devices: list[str]
) -> None:
    run = start(hub, min_devices=1, deadline_s=60)
    before, during, good = devices
    revoke_one(hub, before)

    def then(asked: Sequence[str]) -> None:
        assert asked == [during, good]
        answer(hub, run.id, during, [BASE[0] + 9, BASE[1]])
        revoke_one(hub, during)
        answer(hub, run.id, good, [BASE[0] + 1, BASE[1]])

    thread = once_open(hub, then)
    began_s = time.monotonic()
    answers = RoundExchange(hub.database, hub.artifacts, run.id).play(1, BASE, devices)
    thread.join()
    assert [one.device_id for one in answers] == [good]
    assert time.monotonic() - began_s < 30


def test_a_revoked_device_may_upload_nothing(hub: HubContext, devices: list[str]) -> None:
    revoke_one(hub, devices[0])
    with hub.database.session() as session:
        offer = BlobOffer(sha256="0" * 64, size_bytes=10, chunk_bytes=16 * 1024)
        assert refusal_of(session, devices[0], offer) == "the device was revoked"


def revoke_one(hub: HubContext, device_id: str) -> None:
    with hub.database.transaction() as session:
        revoke(session, session.get_one(Device, device_id), by="ada", reason="", now=utc_now())
