"""A hostile or broken window for each reason: set aside, told, bounded, and never merged."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import timedelta
from typing import Any, get_args

import numpy as np
import pytest
from fastapi.testclient import TestClient
from sqlmodel import Session, col, select
from tests.hub.monitoring.test_drift import baseline, like_training, signals, sketch, take
from tests.simulators.rows import NOON, add_device

from shoal_contract.embedding import EMBEDDING_ONE, EmbeddingBaseline, EmbeddingCounts
from shoal_contract.manifest import Baseline
from shoal_contract.slices import SliceBaseline, SliceCounts
from shoal_contract.telemetry import DriftEvidenceTold, FeatureEvidence, SchemaMisfits, SketchCounts, Window
from shoal_hub.context import HubContext
from shoal_hub.events.tables import EventRow
from shoal_hub.monitoring.evidence_intake import WARM_UP
from shoal_hub.monitoring.prune import WindowPruner
from shoal_hub.monitoring.quarantine import KEPT_EACH, TOLD_EVERY, tell_tallies
from shoal_hub.monitoring.sketches import reference_of
from shoal_hub.monitoring.tables import QuarantinedWindow, QuarantineReason, QuarantineTally, WindowRow
from shoal_hub.monitoring.windows import AHEAD, LATE, take_window
from shoal_hub.registry.tables import Version
from shoal_numerics import Embedding

__all__ = ["baseline"]
ROWS = 150
FEATURES = 64


@pytest.fixture
def device(hub: HubContext) -> str:
    with hub.database.transaction() as session:
        return add_device(session).id


@pytest.fixture
def watched(hub: HubContext, baseline: Baseline) -> Baseline:
    """The version's baseline with an embedding and a slice."""
    rows = like_training(0)
    embedding = EmbeddingBaseline(seed=7, scale=2.0, reference=Embedding(7, 2.0).sums(rows))
    counts = SliceCounts(samples=0, predictions=(0, 0, 0), confidence=(0,) * len(baseline.confidence.counts))
    one = SliceBaseline(name="low", feature=0, high=0.0, reference=counts)
    made = baseline.model_copy(update={"embedding": embedding, "slices": (one,)})
    with hub.database.transaction() as session:
        session.exec(select(Version)).one().baseline = made.model_dump(mode="json")
    return made


def embedded(**changes: Any) -> EmbeddingCounts:
    sums = Embedding(7, 2.0).sums(like_training(1)).model_dump()
    return EmbeddingCounts.model_validate({"seed": 7, **sums} | changes)


def counted(watched: Baseline, **changes: Any) -> tuple[SliceCounts]:
    counts = {"samples": 70, "predictions": (70, 0, 0), "confidence": (0,) * len(watched.confidence.counts)}
    return (SliceCounts.model_validate(counts | changes),)


def whole(watched: Baseline, **changes: Any) -> Window:
    """An honest window with all of its parts."""
    parts: dict[str, Any] = {
        "edges": reference_of(watched).edges.sha256[:16],
        "embedding": embedded(),
        "slices": counted(watched),
        "misfits": SchemaMisfits(extra=1),
        "evidence": told({0: 12.0, 3: 1.0}, WARM_UP + 1),
        "requests": ROWS + 2,
        "errors": 2,
    }
    return sketch(watched, like_training(1), **(parts | changes))


def set_aside(session: Session) -> list[QuarantinedWindow]:
    return list(session.exec(select(QuarantinedWindow).order_by(col(QuarantinedWindow.id))))


def test_an_honest_window_is_stored_with_all_that_it_tells(hub: HubContext, watched: Baseline, device: str) -> None:
    window = whole(watched)
    take(hub, device, window)
    with hub.database.session() as session:
        [row] = session.exec(select(WindowRow))
        assert set_aside(session) == []
        assert EmbeddingCounts.model_validate(row.embedding) == window.embedding
        assert row.slices == [one.model_dump(mode="json") for one in window.slices or ()]
        assert row.misfits == {"missing": 0, "extra": 1, "retyped": 0, "reshaped": 0, "non_finite": 0}


def told(log10: dict[int, float], windows: int) -> DriftEvidenceTold:
    features = tuple(FeatureEvidence(feature=at, log10=one) for at, one in log10.items())
    return DriftEvidenceTold(windows=windows, features=features)


TWICE = DriftEvidenceTold(windows=40, features=(FeatureEvidence(feature=1, log10=2),) * 2)
SOON = DriftEvidenceTold(windows=9, features=(FeatureEvidence(feature=1, log10=2),), warm_up_windows=8)
HOSTILE: list[tuple[str, dict[str, Any], QuarantineReason]] = [
    ("a version that is not there", {"version": 9}, "unknown_version"),
    ("a model that is not there", {"model": "shapes"}, "unknown_version"),
    ("edges of another baseline", {"edges": "f" * 16}, "another_baseline"),
    ("another number of bins", {"features": SketchCounts(rows=4, bins=7, data="AAAA")}, "another_baseline"),
    ("labels that are not there", {"predictions": (1, 0, 0, 0)}, "another_baseline"),
    ("bins of confidence that are not there", {"confidence": (1,)}, "another_baseline"),
    ("bins of latency that are not there", {"latency": (1,) * 20}, "another_baseline"),
    ("an embedding by another seed", {"embedding": embedded(seed=8)}, "another_baseline"),
    ("a slice that is not there", {"slices": ()}, "another_baseline"),
    ("an end before its beginning", {"started_at": NOON, "ended_at": NOON - timedelta(seconds=1)}, "backwards"),
    ("an end in the future", {"ended_at": NOON + AHEAD + timedelta(seconds=1)}, "from_the_future"),
    ("an end long ago", {"started_at": NOON - LATE * 2, "ended_at": NOON - LATE * 1.01}, "late"),
    ("counts that are no base64", {"missing": SketchCounts(rows=4, bins=1, data="====")}, "unreadable"),
    ("counts that cannot be unpacked", {"missing": SketchCounts(rows=4, bins=1, data="AAAA")}, "unreadable"),
    ("more requests than may be", {"requests": 2**31}, "out_of_bounds"),
    ("cosines above 1", {"embedding": embedded(sums=(ROWS * EMBEDDING_ONE + 1,) + (0,) * 63)}, "out_of_bounds"),
    ("a mean too large for its squares", {"embedding": embedded(squares=(0,) * 64)}, "out_of_bounds"),
    ("fewer features of the embedding", {"embedding": embedded(sums=(0,), squares=(0,))}, "out_of_bounds"),
    ("evidence of more windows than may be", {"evidence": told({}, 2**31)}, "out_of_bounds"),
    ("evidence before bets begin", {"evidence": told({1: 2.0}, WARM_UP)}, "out_of_bounds"),
    ("more evidence than there may be", {"evidence": told({1: 12.01}, 40)}, "out_of_bounds"),
    ("evidence of a feature that is not there", {"evidence": told({4: 2.0}, 40)}, "out_of_bounds"),
    ("evidence of a feature twice", {"evidence": TWICE}, "out_of_bounds"),
    ("more samples than were counted", {"samples": ROWS + 1}, "does_not_add_up"),
    ("more errors than requests", {"errors": ROWS + 3}, "does_not_add_up"),
    ("more misfits than errors", {"misfits": SchemaMisfits(missing=3)}, "does_not_add_up"),
    ("more latencies than requests", {"latency": (ROWS + 3,) + (0,) * 13}, "does_not_add_up"),
    ("more predictions than samples", {"predictions": (ROWS, 1, 0)}, "does_not_add_up"),
    ("more right labels than labels", {"labelled": 1, "correct": 2}, "does_not_add_up"),
    ("evidence after less than may be learned from", {"evidence": SOON}, "out_of_bounds"),
    ("features left out that are not", {"left_out": {"features": "too large"}}, "does_not_add_up"),
    ("more embedded than samples", {"embedding": embedded(samples=ROWS + 1)}, "does_not_add_up"),
]


@pytest.mark.parametrize(("changes", "reason"), [one[1:] for one in HOSTILE], ids=[one[0] for one in HOSTILE])
def test_a_window_that_lies_is_set_aside_with_the_reason_and_never_merged(
    hub: HubContext, watched: Baseline, device: str, changes: dict[str, Any], reason: QuarantineReason
) -> None:
    take(hub, device, whole(watched, **changes))
    with hub.database.session() as session:
        assert session.exec(select(WindowRow)).all() == []
        assert signals(session) == []
        [found] = set_aside(session)
        assert (found.device_id, found.reason) == (device, reason)
        [event] = session.exec(select(EventRow).where(EventRow.kind == "window_quarantined"))
        assert (event.severity, event.body, event.message) == ("warning", {"reason": reason}, found.message)


@pytest.mark.parametrize("changes", [{"samples": ROWS + 1}, {"samples": 1}, {"confidence": None}])
def test_a_slice_that_counts_more_than_it_has_is_set_aside(
    hub: HubContext, watched: Baseline, device: str, changes: dict[str, Any]
) -> None:
    if changes == {"confidence": None}:
        changes = {"confidence": (71,) + (0,) * (len(watched.confidence.counts) - 1)}
    take(hub, device, whole(watched, slices=counted(watched, **changes)))
    with hub.database.session() as session:
        assert [one.reason for one in set_aside(session)] == ["does_not_add_up"]


def test_every_reason_has_its_hostile_window() -> None:
    assert {one[2] for one in HOSTILE} | {"duplicate", "unusable_baseline"} == set(get_args(QuarantineReason))


def test_a_clock_that_is_a_little_ahead_is_borne(hub: HubContext, baseline: Baseline, device: str) -> None:
    take(hub, device, sketch(baseline, like_training(1), ended_at=NOON + AHEAD))
    with hub.database.session() as session:
        [row] = session.exec(select(WindowRow))
        assert row.ended_at == NOON


def test_a_window_that_comes_again_is_set_aside_without_an_event(
    hub: HubContext, baseline: Baseline, device: str
) -> None:
    for _ in range(3):
        take(hub, device, sketch(baseline, like_training(1)))
    with hub.database.session() as session:
        assert [one.reason for one in set_aside(session)] == ["duplicate", "duplicate"]
        assert len(session.exec(select(WindowRow)).all()) == 1
        assert session.exec(select(EventRow).where(EventRow.kind == "window_quarantined")).all() == []


def test_a_window_whose_counts_were_too_large_is_stored_and_raises_nothing(
    hub: HubContext, baseline: Baseline, device: str
) -> None:
    empty = sketch(baseline, np.zeros((0, 4), dtype=np.float32), samples=500, requests=500, unsketched=500)
    take(hub, device, empty.model_copy(update={"left_out": {"features": "too large"}}))
    with hub.database.session() as session:
        [row] = session.exec(select(WindowRow))
        assert (row.left_out, row.drift) == ({"features": "too large"}, None)
        assert signals(session) == []


def test_a_device_that_lies_for_ever_fills_no_disk_and_hides_no_other_reason(
    hub: HubContext, baseline: Baseline, device: str
) -> None:
    with hub.database.transaction() as session:
        other = add_device(session).id
    take(hub, device, sketch(baseline, like_training(1), edges="f" * 16))
    take(hub, other, sketch(baseline, like_training(1), samples=1))
    for number in range(KEPT_EACH + 5):
        take(hub, device, sketch(baseline, like_training(1), samples=1000 + number))
    with hub.database.session() as session:
        kept = [one.samples for one in set_aside(session) if (one.device_id, one.reason) == (device, "does_not_add_up")]
        assert kept == list(range(1005, 1005 + KEPT_EACH)), "the latest"
        assert len(set_aside(session)) == KEPT_EACH + 2


def uneven(baseline: Baseline) -> Baseline:
    first = baseline.features[0].model_copy(update={"missing": 7})
    return baseline.model_copy(update={"features": (first, *baseline.features[1:])})


def empty(baseline: Baseline) -> Baseline:
    none = [one.model_copy(update={"counts": (0,) * len(one.counts)}) for one in baseline.features]
    return baseline.model_copy(update={"features": tuple(none), "missing": (0,) * len(none)})


@pytest.mark.parametrize("broken_of", [uneven, empty])
def test_a_window_of_a_baseline_that_nothing_can_be_counted_by_is_set_aside_and_others_are_taken(
    hub: HubContext, baseline: Baseline, device: str, broken_of: Callable[[Baseline], Baseline]
) -> None:
    broken = broken_of(baseline)
    with hub.database.transaction() as session:
        row = session.exec(select(Version)).one()
        session.add(
            Version(
                **row.model_dump(exclude={"id", "number", "baseline"}),
                number=2,
                baseline=broken.model_dump(mode="json"),
            )
        )
    window = sketch(baseline, like_training(1))
    take(hub, device, window.model_copy(update={"version": 2}))
    take(hub, device, window)
    with hub.database.session() as session:
        assert [one.version for one in session.exec(select(WindowRow))] == [1]
        [found] = set_aside(session)
        assert (found.reason, found.version) == ("unusable_baseline", 2)
        assert "register the version again" in found.message


def test_a_device_that_lies_for_ever_is_told_of_once_an_hour_with_how_often(
    hub: HubContext, baseline: Baseline, device: str
) -> None:
    with hub.database.transaction() as session:
        other = add_device(session).id

    def lie(minutes: int, times: int, of: str = device) -> None:
        at = NOON + timedelta(minutes=minutes)
        for number in range(times):
            lying = sketch(baseline, like_training(1), samples=1000 + number, ended_at=at)
            take(hub, of, lying, at)

    def told() -> list[tuple[str | None, int]]:
        with hub.database.session() as session:
            wanted = select(EventRow).where(EventRow.kind == "window_quarantined").order_by(col(EventRow.id))
            return [(row.device_id, row.body.get("more", 0)) for row in session.exec(wanted)]

    lie(0, 20)
    lie(30, 5, other)
    assert told() == [(device, 0), (other, 0)]
    lie(61, 3)
    assert told()[2:] == [(device, 19)]
    WindowPruner(hub.database, timedelta(days=2)).step(NOON + timedelta(minutes=122))
    assert sorted(told()[3:]) == sorted([(device, 2), (other, 4)]), "those that have stopped are told of as well"
    WindowPruner(hub.database, timedelta(days=2)).step(NOON + timedelta(minutes=300))
    assert len(told()) == 5


def test_a_tally_that_an_ingest_counts_at_is_told_later_and_one_that_was_told_is_counted_anew(
    hub: HubContext, baseline: Baseline, device: str
) -> None:
    if hub.database.engine.dialect.name != "postgresql":
        pytest.skip("SQLite has one writer at a time")
    lie = sketch(baseline, like_training(1), samples=1000)
    take(hub, device, lie)
    later = NOON + 2 * TOLD_EVERY
    with hub.database.transaction() as session:
        known = session.get_one(QuarantineTally, (device, "does_not_add_up"))
        take_window(session, device, lie, NOON + timedelta(minutes=1))
        with hub.database.transaction() as other:
            assert tell_tallies(other, later) == 0, "not waited for"
        session.flush()
        assert known.untold == 1
    with ThreadPoolExecutor() as pool:
        with hub.database.transaction() as session:
            assert tell_tallies(session, later) == 1
            session.flush()
            counted = pool.submit(take, hub, device, lie, later)
            assert wait([counted], timeout=0.3).not_done, "it waits for the row"
        counted.result(timeout=10)
    with hub.database.session() as session:
        assert session.get_one(QuarantineTally, (device, "does_not_add_up")).untold == 0


def test_a_person_finds_them_by_device_model_and_reason(
    client: TestClient, hub: HubContext, baseline: Baseline, device: str
) -> None:
    take(hub, device, sketch(baseline, like_training(1), samples=1))
    take(hub, device, sketch(baseline, like_training(1), edges="f" * 16))

    def listed(**params: str) -> list[str]:
        answer = client.get("/api/v1/drift/quarantine", params=params)
        assert answer.status_code == 200, answer.text
        return [one["reason"] for one in answer.json()]

    assert listed() == ["another_baseline", "does_not_add_up"]
    assert listed(device=device, model="colours", reason="does_not_add_up") == ["does_not_add_up"]
    assert listed(device="d-none") == listed(model="none") == listed(reason="late") == []
    assert client.get("/api/v1/drift/quarantine", params={"reason": "bad"}).status_code == 422


def test_they_are_deleted_when_their_time_is_over(hub: HubContext, baseline: Baseline, device: str) -> None:
    take(hub, device, sketch(baseline, like_training(1), samples=1))
    pruner = WindowPruner(hub.database, timedelta(days=2))
    pruner.step(NOON + timedelta(days=1))
    with hub.database.session() as session:
        assert len(set_aside(session)) == 1
    pruner.step(NOON + timedelta(days=3))
    with hub.database.session() as session:
        assert set_aside(session) == []
