"""What stands at the broker follows the leases, chunk before manifest, and survives any interruption."""

from datetime import timedelta

import pytest
from sqlmodel import select
from tests.simulators.retained_topics import RetainedTopics
from tests.simulators.rows import NOON

from shoal_contract import topics
from shoal_contract.ids import sha256_hex
from shoal_contract.limits import MAX_ARTIFACT_BYTES
from shoal_contract.transfer import parse_transfer_manifest
from shoal_hub.context import HubContext
from shoal_hub.events.tables import EventRow
from shoal_hub.jobs.queue import enqueue
from shoal_hub.mqtt import MqttError
from shoal_hub.registry.artifacts import store_artifact
from shoal_hub.registry.tables import Artifact
from shoal_hub.transfer.leases import drop_leases, take_leases
from shoal_hub.transfer.publishing import Transfers
from shoal_hub.transfer.tables import Delta, Lease, Retained

GRACE = timedelta(seconds=30)
DATA = b"0123456789abcdef" * 20_000  # 2.4 chunks


@pytest.fixture
def broker() -> RetainedTopics:
    return RetainedTopics()


@pytest.fixture
def transfers(hub: HubContext) -> Transfers:
    return Transfers(hub.database, hub.artifacts, GRACE)


@pytest.fixture
def sha256(hub: HubContext) -> str:
    with hub.database.transaction() as session:
        stored = store_artifact(session, hub.artifacts, DATA)
        take_leases(session, "rollout/a", [stored.sha256], NOON)
    return stored.sha256


def _run(transfers: Transfers, broker: RetainedTopics, after: timedelta = timedelta()) -> None:
    while transfers.step(broker, NOON + after):
        pass


def _drop(hub: HubContext, user: str) -> None:
    with hub.database.transaction() as session:
        drop_leases(session, user)


def _is_whole(broker: RetainedTopics, sha256: str) -> bool:
    manifest = parse_transfer_manifest(broker.retained[topics.artifact_manifest(sha256)], sha256, len(DATA))
    chunks = [broker.retained[topics.artifact_chunk(sha256, index)] for index in range(len(manifest.chunks))]
    assert [sha256_hex(chunk) for chunk in chunks] == list(manifest.chunks)
    return b"".join(chunks) == DATA


def test_the_manifest_comes_after_every_chunk(transfers: Transfers, broker: RetainedTopics, sha256: str) -> None:
    _run(transfers, broker)
    assert _is_whole(broker, sha256)
    assert broker.order[-1] == topics.artifact_manifest(sha256)


def test_what_stands_is_not_published_again(transfers: Transfers, broker: RetainedTopics, sha256: str) -> None:  # noqa: ARG001
    _run(transfers, broker)
    count = len(broker.order)
    _run(transfers, broker)
    assert len(broker.order) == count


@pytest.mark.parametrize("dies_after", range(4))
def test_a_publication_that_was_cut_off_is_done_again_whole(
    transfers: Transfers, broker: RetainedTopics, sha256: str, dies_after: int
) -> None:
    broker.dies_after = dies_after
    with pytest.raises(MqttError):
        _run(transfers, broker)
    broker.dies_after = None
    _run(transfers, broker)
    assert _is_whole(broker, sha256)


def test_one_rollouts_end_takes_nothing_from_another(
    transfers: Transfers, broker: RetainedTopics, hub: HubContext, sha256: str
) -> None:
    with hub.database.transaction() as session:
        take_leases(session, "rollout/b", [sha256], NOON)
        take_leases(session, "rollout/b", [sha256], NOON)
    _run(transfers, broker)
    _drop(hub, "rollout/a")
    _run(transfers, broker, 2 * GRACE)
    assert _is_whole(broker, sha256)


def test_at_the_last_lease_the_manifest_goes_first_and_the_chunks_after_the_grace(
    transfers: Transfers, broker: RetainedTopics, hub: HubContext, sha256: str
) -> None:
    _run(transfers, broker)
    _drop(hub, "rollout/a")
    _run(transfers, broker)
    assert topics.artifact_manifest(sha256) not in broker.retained
    assert topics.artifact_chunk(sha256, 0) in broker.retained
    _run(transfers, broker, GRACE)
    assert broker.retained == {}
    with hub.database.session() as session:
        assert session.exec(select(Retained)).all() == []


def test_a_lease_in_the_time_of_grace_brings_the_artifact_back(
    transfers: Transfers, broker: RetainedTopics, hub: HubContext, sha256: str
) -> None:
    _run(transfers, broker)
    _drop(hub, "rollout/a")
    _run(transfers, broker)
    with hub.database.transaction() as session:
        take_leases(session, "rollout/b", [sha256], NOON)
    _run(transfers, broker, 2 * GRACE)
    assert _is_whole(broker, sha256)


def test_a_withdrawal_that_was_cut_off_still_takes_the_manifest_before_the_chunks(
    transfers: Transfers, broker: RetainedTopics, hub: HubContext, sha256: str
) -> None:
    _run(transfers, broker)
    _drop(hub, "rollout/a")
    broker.dies_after = len(broker.order)
    with pytest.raises(MqttError):
        _run(transfers, broker)
    broker.dies_after = None
    broker.order.clear()
    _run(transfers, broker, 2 * GRACE)
    assert broker.order[0] == topics.artifact_manifest(sha256)
    assert broker.retained == {}


def test_a_broker_that_lost_everything_gets_what_is_leased_again(
    transfers: Transfers, broker: RetainedTopics, sha256: str
) -> None:
    _run(transfers, broker)
    broker.retained.clear()
    transfers.assert_all()
    _run(transfers, broker)
    assert _is_whole(broker, sha256)


def test_an_artifact_that_cannot_be_read_is_told_once_and_holds_up_no_other(
    transfers: Transfers, broker: RetainedTopics, hub: HubContext, sha256: str
) -> None:
    path = hub.artifacts.local_path(sha256)
    assert path is not None
    path.chmod(0o600)
    path.write_bytes(b"damaged")
    with hub.database.transaction() as session:
        other = store_artifact(session, hub.artifacts, b"other").sha256
        take_leases(session, "rollout/b", [other], NOON)
    _run(transfers, broker)
    assert topics.artifact_manifest(other) in broker.retained
    assert topics.artifact_manifest(sha256) not in broker.retained
    with hub.database.session() as session:
        assert len(session.exec(select(EventRow).where(EventRow.kind == "artifact_unreadable")).all()) == 1
        assert len(session.exec(select(Lease)).all()) == 2


def test_what_does_not_fit_at_the_broker_waits_until_there_is_room_and_the_smallest_come_first(
    hub: HubContext, broker: RetainedTopics, sha256: str
) -> None:
    transfers = Transfers(hub.database, hub.artifacts, GRACE, budget_bytes=len(DATA) + 10)
    with hub.database.transaction() as session:
        small, large = (
            store_artifact(session, hub.artifacts, data).sha256 for data in (b"small", bytes(len(DATA) + 1))
        )
        take_leases(session, "rollout/b", [small, large], NOON)
    _run(transfers, broker)
    assert _is_whole(broker, sha256)
    assert topics.artifact_manifest(small) in broker.retained
    assert topics.artifact_manifest(large) not in broker.retained, "devices have it over HTTPS"
    _drop(hub, "rollout/a")
    _run(transfers, broker, 2 * GRACE)
    _run(transfers, broker, 4 * GRACE)
    assert topics.artifact_manifest(large) in broker.retained


def test_an_artifact_that_is_too_large_for_chunks_never_stands_at_the_broker(
    hub: HubContext, broker: RetainedTopics, sha256: str
) -> None:
    transfers = Transfers(hub.database, hub.artifacts, GRACE)
    with hub.database.transaction() as session:
        row = session.get_one(Artifact, sha256)
        row.size_bytes = MAX_ARTIFACT_BYTES + 1
        session.add(row)
    _run(transfers, broker)
    assert broker.retained == {}


def test_a_manifest_that_names_another_delta_is_made_without_reading_the_artifact_again(
    hub: HubContext, broker: RetainedTopics, sha256: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    transfers = Transfers(hub.database, hub.artifacts, GRACE)
    _run(transfers, broker)
    patch, base = b"patch", "b" * 64
    with hub.database.transaction() as session:
        made = store_artifact(session, hub.artifacts, patch).sha256
        session.add(Artifact(sha256=base, size_bytes=1, created_at=NOON))
        job = enqueue(session, "delta", "models/m/1", {}, by="ada")
        session.add(
            Delta(
                base_sha256=base,
                result_sha256=sha256,
                state="made",
                job_id=job.id,
                artifact_sha256=made,
                sha256=made,
                size_bytes=len(patch),
            )
        )
        take_leases(session, "rollout/a", [made], NOON)
    opened: list[str] = []
    real = hub.artifacts.open
    monkeypatch.setattr(hub.artifacts, "open", lambda one: (opened.append(one), real(one))[1])
    _run(transfers, broker)
    manifest = parse_transfer_manifest(broker.retained[topics.artifact_manifest(sha256)], sha256, len(DATA))
    assert set(manifest.deltas) == {base}
    assert sha256 not in opened
