"""`shoal drift quarantine` against a real hub."""

import json
from datetime import timedelta

from tests.cli.conftest import DEVICES, Shoal
from tests.hub.served import ServedHub

from shoal_hub.database import utc_now
from shoal_hub.devices.intents import intents_of
from shoal_hub.monitoring.tables import QuarantinedWindow, QuarantineReason

GARDEN = DEVICES["garden"]


def add_quarantined(served: ServedHub, device_id: str, reason: QuarantineReason) -> None:
    now = utc_now()
    row = QuarantinedWindow(
        device_id=device_id,
        model="digits",
        version=3,
        reason=reason,
        message=f"reading a window of digits version 3: {reason} of [bold]it[/bold]",
        started_at=now - timedelta(minutes=1),
        ended_at=now,
        requests=5,
        samples=5,
        received_at=now,
    )
    with served.hub.database.transaction() as session:
        session.add(row)


def test_what_drift_tolerates_on_a_device_is_set_within_its_bounds(shoal: Shoal, served: ServedHub) -> None:
    def config() -> dict[str, object]:
        with served.hub.database.session() as session:
            [wanted] = intents_of(session, GARDEN, "config")
        return {name: value for name, value in wanted.body.items() if value is not None}

    options = ("--drift-tolerance", "0.1", "--drift-warm-up", "64", "--drift-recentred")
    assert shoal("devices", "configure", "garden", *options).status == 0
    given = {"drift_tolerance": 0.1, "drift_warm_up_windows": 64, "drift_is_recentred": True}
    assert config().items() >= given.items()
    for wrong in (("--drift-tolerance", "0.5"), ("--drift-tolerance", "0.001"), ("--drift-warm-up", "15")):
        refused = shoal("devices", "configure", "garden", *wrong)
        assert refused.status != 0
        assert "drift_" in refused.err
    assert shoal("devices", "configure", "garden").status == 0
    assert not config().keys() & given.keys(), "what is not given goes back to its default"


def test_windows_that_were_not_merged_are_listed_with_the_reason(shoal: Shoal, served: ServedHub) -> None:
    assert "Every window was merged" in shoal("drift", "quarantine").out
    add_quarantined(served, GARDEN, "late")
    add_quarantined(served, DEVICES["kitchen"], "another_baseline")
    shown = shoal("drift", "quarantine").out
    assert all(text in shown for text in ("late", "another_baseline", GARDEN, "digits 3"))
    assert "another_baseline" not in shoal("drift", "quarantine", "--device", "garden").out
    found = json.loads(shoal("drift", "quarantine", "--reason", "late", "--model", "digits", "--json").out)
    assert [(one["device_id"], one["reason"], one["samples"]) for one in found] == [(GARDEN, "late", 5)]
    assert "[bold]" in found[0]["message"]


def test_a_reason_that_is_none_is_told_with_those_that_are(shoal: Shoal) -> None:
    ended = shoal("drift", "quarantine", "--reason", "bad")
    assert ended.status == 1
    assert "another_baseline" in ended.err
