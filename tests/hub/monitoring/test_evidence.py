"""The controlled rule at the hub: from what devices say of their evidence to one signal, on both databases."""

import math
from collections.abc import Sequence
from datetime import timedelta

import pytest
from sqlmodel import Session, select
from tests.hub.monitoring.test_drift import baseline, like_training, sketch, take
from tests.simulators.rows import NOON, add_device, make_report

from shoal_contract.manifest import Baseline
from shoal_contract.reported import FallbackReport, ModelReport, SlotReport
from shoal_contract.telemetry import DriftEvidenceTold, FeatureEvidence
from shoal_hub.context import HubContext
from shoal_hub.devices.matching import load_devices
from shoal_hub.devices.tables import Device
from shoal_hub.events.tables import EventRow
from shoal_hub.monitoring.evidence import ALPHA, SAID_FOR, VERSIONS_EACH, EvidenceWatch, Said, suffices
from shoal_hub.monitoring.evidence_intake import WARM_UP
from shoal_hub.monitoring.tables import DeviceEvidence, DriftSignal
from shoal_hub.monitoring.windows import take_window

__all__ = ["baseline"]
LATER = NOON + timedelta(hours=1)


@pytest.fixture
def devices(hub: HubContext) -> list[str]:
    with hub.database.transaction() as session:
        return [add_device(session).id for _ in range(6)]


def say(
    hub: HubContext, device_id: str, of: Baseline, evidence: dict[int, float], seed: int = 0, *, windows: int = 40
) -> None:
    """Have a device send a window of data like that of the training, with this evidence: log10 by feature."""
    told = DriftEvidenceTold(
        windows=windows, features=tuple(FeatureEvidence(feature=at, log10=log10) for at, log10 in evidence.items())
    )
    take(hub, device_id, sketch(of, like_training(seed), evidence=told))


def look(hub: HubContext) -> list[DriftSignal]:
    EvidenceWatch(hub.database).step(LATER)
    with hub.database.session() as session:
        return list(session.exec(select(DriftSignal).where(DriftSignal.rule == "controlled")))


def said(*log10: float) -> list[Said]:
    """Return what devices say of the third feature."""
    return [(f"d-{at}", [[2.0, one]]) for at, one in enumerate(log10)]


def test_what_one_device_needs_grows_with_the_tests_and_shrinks_with_those_that_moved_as_well() -> None:
    assert not suffices(said(2.5), 20)  # 316, of 20 tests at 0.05: 400 are needed
    assert [(one.device_id, one.feature) for one in suffices(said(2.61), 20)] == [("d-0", 2)]
    together = suffices(said(2.35, 2.31), 20)  # 200 each
    assert [(one.device_id, one.feature) for one in together] == [("d-0", 2), ("d-1", 2)]


def test_a_signal_names_devices_and_features_and_is_cleared_when_the_evidence_has_gone(
    hub: HubContext, devices: list[str], baseline: Baseline
) -> None:
    for seed, device in enumerate(devices):
        say(hub, device, baseline, {}, seed)
    assert look(hub) == []
    for seed, device in enumerate(devices[:2]):
        say(hub, device, baseline, {3: 9.0, 1: 4.0}, 10 + seed)
    say(hub, devices[2], baseline, {3: 5.0, 0: 1.0}, 20)
    [signal] = look(hub)
    assert (signal.state, signal.devices) == ("active", sorted(devices[:3]))
    names = [feature.name for feature in baseline.features]
    assert [(one["name"], one["log10_e"], one["devices"]) for one in signal.features] == [
        (names[3], 9.0, 3),
        (names[1], 4.0, 2),
    ]
    for seed, device in enumerate(devices[:3]):
        say(hub, device, baseline, {}, 30 + seed)
    [signal] = look(hub)
    assert (signal.state, signal.devices, signal.cleared_at) == ("cleared", [], LATER)
    with hub.database.session() as session:
        told = [one.kind for one in session.exec(select(EventRow).order_by(EventRow.id)) if "drift" in one.kind]
    assert told == ["drift_raised", "drift_cleared"]


def test_it_is_looked_at_only_when_a_device_says_something_new(
    hub: HubContext, devices: list[str], baseline: Baseline
) -> None:
    say(hub, devices[0], baseline, {1: 8.0})
    watch = EvidenceWatch(hub.database)
    assert watch.step(LATER) == 1
    assert watch.step(LATER) == 0
    say(hub, devices[0], baseline, {1: 8.0}, 1)
    assert watch.step(LATER) == 0
    say(hub, devices[0], baseline, {1: 8.5}, 2)
    assert watch.step(LATER) == 1


def test_a_device_that_was_revoked_counts_for_nothing(hub: HubContext, devices: list[str], baseline: Baseline) -> None:
    say(hub, devices[0], baseline, {1: 9.0})
    with hub.database.transaction() as session:
        _revoke(session, devices[0])
    assert look(hub) == []


def test_a_device_with_nothing_to_say_is_no_news_and_counts_among_those_that_test(
    hub: HubContext, devices: list[str], baseline: Baseline
) -> None:
    enough = math.log10(len(baseline.features) / ALPHA) + 0.01
    for device in devices[1:]:
        say(hub, device, baseline, {})
    assert EvidenceWatch(hub.database).step(LATER) == 0
    say(hub, devices[0], baseline, {1: enough})
    assert look(hub) == [], "of one device it would do"
    say(hub, devices[0], baseline, {1: enough + math.log10(len(devices))}, 1)
    [signal] = look(hub)
    assert (signal.state, signal.devices) == ("active", devices[:1])


def test_an_agent_that_starts_anew_takes_back_nothing_before_it_bets_again(
    hub: HubContext, devices: list[str], baseline: Baseline
) -> None:
    say(hub, devices[0], baseline, {1: 9.0})
    assert [one.state for one in look(hub)] == ["active"]
    say(hub, devices[0], baseline, {}, 1, windows=1)
    say(hub, devices[0], baseline, {}, 2, windows=WARM_UP)
    assert [one.state for one in look(hub)] == ["active"]
    say(hub, devices[0], baseline, {}, 3, windows=WARM_UP + 1)
    assert [one.state for one in look(hub)] == ["cleared"]


def test_what_was_said_with_an_earlier_window_comes_too_late(
    hub: HubContext, devices: list[str], baseline: Baseline
) -> None:
    for minutes, much in ((1, {1: 9.0}), (3, {1: 9.0}), (2, {}), (0, {2: 9.0})):
        ended = NOON + timedelta(minutes=minutes)
        features = tuple(FeatureEvidence(feature=at, log10=log10) for at, log10 in much.items())
        told = DriftEvidenceTold(windows=40, features=features)
        changes = {"started_at": ended - timedelta(minutes=1), "ended_at": ended, "evidence": told}
        take(hub, devices[0], sketch(baseline, like_training(minutes), **changes), LATER)
    [signal] = look(hub)
    assert (signal.state, signal.devices) == ("active", devices[:1])
    assert [one["name"] for one in signal.features] == [baseline.features[1].name]


def test_what_is_said_by_a_clock_that_was_set_back_counts_if_it_is_of_more_windows(
    hub: HubContext, devices: list[str], baseline: Baseline
) -> None:
    say(hub, devices[0], baseline, {1: 9.0})
    assert [one.state for one in look(hub)] == ["active"]
    earlier = {"started_at": NOON - timedelta(minutes=6), "ended_at": NOON - timedelta(minutes=5)}
    told = DriftEvidenceTold(windows=41)
    take(hub, devices[0], sketch(baseline, like_training(1), evidence=told, **earlier))
    assert [one.state for one in look(hub)] == ["cleared"]


def test_what_a_device_said_ends_some_time_after_its_last_window(
    hub: HubContext, devices: list[str], baseline: Baseline
) -> None:
    say(hub, devices[0], baseline, {1: 9.0})
    say(hub, devices[1], baseline, {1: 9.0}, 1)
    watch = EvidenceWatch(hub.database)
    watch.step(NOON)
    later = NOON + SAID_FOR - timedelta(hours=1)
    evidence = DriftEvidenceTold(windows=41, features=(FeatureEvidence(feature=1, log10=9.0),))
    take(hub, devices[1], sketch(baseline, like_training(2), evidence=evidence, ended_at=later), later)
    watch.step(NOON + SAID_FOR + timedelta(minutes=1))
    with hub.database.session() as session:
        [signal] = session.exec(select(DriftSignal).where(DriftSignal.rule == "controlled"))
        assert (signal.state, signal.devices) == ("active", [devices[1]])
    watch.step(later + SAID_FOR + timedelta(minutes=1))
    with hub.database.session() as session:
        [signal] = session.exec(select(DriftSignal).where(DriftSignal.rule == "controlled"))
        assert (signal.state, signal.devices) == ("cleared", [])
        assert session.exec(select(DeviceEvidence)).all() == []


def test_a_version_that_cannot_be_decided_on_holds_up_no_other(
    hub: HubContext, devices: list[str], baseline: Baseline, caplog: pytest.LogCaptureFixture
) -> None:
    say(hub, devices[0], baseline, {1: 9.0})
    with hub.database.transaction() as session:
        for number in range(VERSIONS_EACH):  # as many as one step takes, and before the good one
            session.add(
                DeviceEvidence(
                    model="broken", version=number, device_id=devices[1], windows=40, tested=4,
                    features=[[2.0, 9.0]], ended_at=NOON, updated_at=NOON,
                )
            )  # fmt: skip
    watch = EvidenceWatch(hub.database)
    for _ in range(3):
        watch.step(LATER)
    with hub.database.session() as session:
        [signal] = session.exec(select(DriftSignal).where(DriftSignal.rule == "controlled"))
    assert (signal.model, signal.state) == ("colours", "active")
    assert "deciding on drift of broken version 0 failed" in caplog.text


def test_a_version_that_cannot_be_decided_on_is_forgotten_and_holds_no_other_up(
    hub: HubContext, devices: list[str], baseline: Baseline, caplog: pytest.LogCaptureFixture
) -> None:
    say(hub, devices[0], baseline, {1: 9.0})
    watch = EvidenceWatch(hub.database)
    watch.step(NOON)
    over = NOON + SAID_FOR + timedelta(minutes=2)
    with hub.database.transaction() as session:
        # Comes before the good one; of another device, what is said still holds and cannot be read.
        for device, heard in ((devices[1], NOON), (devices[2], over)):
            session.add(
                DeviceEvidence(
                    model="broken", version=1, device_id=device, windows=40, tested=4, is_told=True,
                    features=[[2.0, 9.0]], ended_at=NOON, updated_at=NOON, heard_at=heard,
                )
            )  # fmt: skip
    assert _controlled(hub) == ["active"]
    watch.step(over)
    assert "deciding on drift of broken version 1 failed" in caplog.text
    with hub.database.session() as session:
        assert [(one.model, one.device_id) for one in session.exec(select(DeviceEvidence))] == [("broken", devices[2])]
    assert _controlled(hub) == ["cleared"]


def test_what_a_device_said_holds_while_the_version_before_answers_and_one_hears_of_it(
    hub: HubContext, devices: list[str], baseline: Baseline
) -> None:
    say(hub, devices[0], baseline, {1: 9.0})
    watch = EvidenceWatch(hub.database)
    watch.step(NOON)
    slot = SlotReport(version=1, target="generic", sha256="a" * 64, state="good")
    fallback = FallbackReport(version=2, since_at=NOON, features=1)
    fallen, back = ModelReport(active=slot, fallback=fallback), ModelReport(active=slot)

    def after(time: timedelta, report: ModelReport, seen_ago: timedelta = timedelta(minutes=1)) -> list[str]:
        now = NOON + time
        with hub.database.transaction() as session:
            row = session.get_one(Device, devices[0])
            row.reported = make_report(models={"colours": report}).model_dump(mode="json")
            row.last_seen_at = now - seen_ago
            session.add(row)
        watch.step(now)
        return _controlled(hub)

    long = SAID_FOR + timedelta(minutes=2)
    assert after(long, fallen) == ["active"]
    assert after(2 * long, fallen) == ["active"]
    assert after(2 * long + timedelta(hours=1), back) == ["active"], "it has time to say something"
    assert after(3 * long, fallen) == ["active"]
    assert after(4 * long, fallen, SAID_FOR + timedelta(hours=1)) == ["cleared"], "it is gone"


def test_a_device_may_learn_for_another_time_than_usual_and_says_so(
    hub: HubContext, devices: list[str], baseline: Baseline
) -> None:
    features = (FeatureEvidence(feature=1, log10=9.0),)
    soon = DriftEvidenceTold(windows=17, features=features, warm_up_windows=16)
    take(hub, devices[0], sketch(baseline, like_training(1), evidence=soon))
    [signal] = look(hub)
    assert signal.devices == devices[:1]
    learning = DriftEvidenceTold(windows=60, warm_up_windows=100)
    take(hub, devices[0], sketch(baseline, like_training(2), evidence=learning))
    assert [one.state for one in look(hub)] == ["active"], "it says nothing before it bets again"


def test_what_a_device_says_while_it_is_decided_stays_news(
    hub: HubContext, devices: list[str], baseline: Baseline, monkeypatch: pytest.MonkeyPatch
) -> None:
    if hub.database.engine.dialect.name != "postgresql":
        pytest.skip("SQLite has one writer at a time")
    say(hub, devices[0], baseline, {1: 9.0})

    def meanwhile(session: Session, device_ids: Sequence[str]) -> list[Device]:
        say(hub, devices[1], baseline, {1: 9.0}, 1)
        return load_devices(session, device_ids)

    with monkeypatch.context() as patch:
        patch.setattr("shoal_hub.monitoring.evidence.load_devices", meanwhile)
        [signal] = look(hub)
    assert signal.devices == devices[:1]
    [signal] = look(hub)
    assert signal.devices == sorted(devices[:2])


def test_news_that_was_read_before_it_was_told_is_told_again(
    hub: HubContext, devices: list[str], baseline: Baseline
) -> None:
    if hub.database.engine.dialect.name != "postgresql":
        pytest.skip("SQLite has one writer at a time")
    say(hub, devices[0], baseline, {1: 9.0})
    with hub.database.transaction() as session:
        read = session.get_one(DeviceEvidence, ("colours", 1, devices[0]))
        assert [one.state for one in look(hub)] == ["active"]
        told = DriftEvidenceTold(windows=41)
        take_window(session, devices[0], sketch(baseline, like_training(1), evidence=told), NOON)
        session.refresh(read)
        assert read.windows == 41
    assert [one.state for one in look(hub)] == ["cleared"]


def _controlled(hub: HubContext) -> list[str]:
    with hub.database.session() as session:
        return [one.state for one in session.exec(select(DriftSignal).where(DriftSignal.rule == "controlled"))]


def _revoke(session: Session, device_id: str) -> None:
    device = session.get_one(Device, device_id)
    device.revoked_at = NOON
    session.add(device)
