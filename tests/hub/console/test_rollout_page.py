"""A rollout's page: what its gate says, with intervals; what has travelled; and an operator's buttons."""

import re
from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlmodel import select
from tests.hub.audit.trail import read
from tests.hub.console.conftest import PASSWORD, csrf_of, open_browser
from tests.simulators.rows import add_device, add_version

from shoal_hub.approvals.policy import set_policy
from shoal_hub.console.interval import WIDTH, interval_of
from shoal_hub.context import HubContext
from shoal_hub.database import utc_now
from shoal_hub.gates.tables import GateLook
from shoal_hub.operators.roles import Role
from shoal_hub.operators.users import create_user
from shoal_hub.rollouts.request import RolloutRequest
from shoal_hub.rollouts.start import start_request, starter_of
from shoal_hub.rollouts.tables import Deployment, Rollout

TARGET = "generic-onnx-int8"
SIDE = {"devices": 12, "samples": 4800.0, "value": 0.9125, "before": 0.92}
METRIC = {
    "name": "accuracy",
    "unit": "of labelled samples",
    "verdict": "hold",
    "reason": "<i>neither</i> harm is shown nor ruled out",
    "limit": None,
    "margin": 0.02,
    "tolerance": 0.0,
    "worse": "lower",
    "effect": -0.004,
    "lower": -0.03,
    "upper": 0.011,
    "alpha": 0.05,
    "canary": SIDE,
    "control": SIDE | {"value": 0.9166},
}


@pytest.fixture
def rollout(hub: HubContext) -> str:
    """A rollout of two waves with a gate on accuracy, whose first wave has ended on its device."""
    plan = {"waves": [1, 1], "wave_approval": True, "gate": {"metrics": [{"name": "accuracy"}]}}
    with hub.database.transaction() as session:
        for name in ("kitchen", "shed"):
            add_device(session, name=name)
        for number in (1, 2):
            add_version(session, hub.artifacts, number, {TARGET: bytes([number]) * 10_000})
        body = RolloutRequest.model_validate({"model": "digits", "version": "2"} | plan)
        row = start_request(session, starter_of(hub), body, by="ada")
        row.wave_ended_at = utc_now() - timedelta(seconds=5)
        session.flush()
        done = session.exec(select(Deployment).where(Deployment.rollout_id == row.id, Deployment.wave == 0)).one()
        done.state, done.target, done.fetched_bytes = "succeeded", TARGET, 2500
        session.add(done)
        return row.id


def look(hub: HubContext, rollout: str, says: str = "hold", **changes: Any) -> None:
    with hub.database.transaction() as session:
        session.add(
            GateLook(
                rollout_id=rollout,
                wave=0,
                at=utc_now(),
                verdict=says,
                tested=says,
                reason=f"accuracy: {METRIC['reason']}",
                alpha_spent=0.05,
                metrics=[METRIC | changes],
            )
        )


def state_of(hub: HubContext, rollout: str) -> str:
    with hub.database.session() as session:
        return session.get_one(Rollout, rollout).state


def page(browser: TestClient, rollout: str) -> str:
    return browser.get(f"/console/rollouts/{rollout}").text


def press(browser: TestClient, rollout: str, command: str) -> Any:
    return browser.post(f"/rollouts/{rollout}/{command}", headers={"X-CSRF-Token": csrf_of(browser)})


def test_the_gate_is_shown_with_its_effect_interval_and_margin(
    visitor: TestClient, hub: HubContext, rollout: str
) -> None:
    look(hub, rollout)
    shown = page(visitor, rollout)
    for text in ("Gate of wave 1", "alpha spent 0.05 of 0.05", "0.9125", "12 devices, 4800", "before 0.92", "-0.004"):
        assert text in shown
    assert 'aria-label="effect -0.004, between -0.03 and 0.011, margin 0.02"' in shown
    assert "the last wave has no gate: no device is held back" in shown
    assert ("<i>neither" in shown, "&lt;i&gt;neither" in shown) == (False, True)
    assert "style=" not in shown, "the page's policy runs no styles of its own"


def test_what_was_not_tested_is_said_and_has_no_picture(visitor: TestClient, hub: HubContext, rollout: str) -> None:
    nothing = {"verdict": "not_tested", "effect": None, "lower": None, "upper": None}
    look(hub, rollout, **nothing, limit={"verdict": "hold", "reason": "an arm has 0 samples"})
    shown = page(visitor, rollout)
    assert ("not tested; limit: hold" in shown, "<svg" in shown) == (True, False)


def test_what_has_travelled_is_shown(visitor: TestClient, rollout: str) -> None:
    shown = " ".join(page(visitor, rollout).split())
    assert "Fetched 2.5 kB of 10.0 kB of model files" in shown
    assert "75 % saved" in shown


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"lower": -0.02, "upper": 0.02, "effect": 0.0}, (10.0, 210.0, 110.0, (10.0,))),
        ({"worse": "higher"}, (10.0, 146.7, 96.7, (176.7,))),
        ({"worse": "either"}, (10.0, 146.7, 96.7, (43.3, 176.7))),
        ({"lower": None, "upper": 0.02, "effect": 0.01}, (0.0, 210.0, 160.0, (10.0,))),
        ({"effect": None}, None),
    ],
)
def test_the_picture_is_to_one_scale_with_no_effect_in_its_middle(changes: dict[str, Any], expected: Any) -> None:
    assert WIDTH == 220
    assert interval_of(METRIC | changes) == expected


def test_an_operator_pauses_resumes_approves_and_aborts_by_the_buttons_that_are_there(
    visitor: TestClient, hub: HubContext, rollout: str
) -> None:
    look(hub, rollout, "advance")

    def buttons() -> list[str]:
        return re.findall(rf'hx-post="/rollouts/{rollout}/(\w+)"', page(visitor, rollout))

    assert buttons() == ["approve", "pause", "abort"]
    assert "paused" in press(visitor, rollout, "pause").text
    assert (buttons(), state_of(hub, rollout)) == (["resume", "abort"], "paused")
    press(visitor, rollout, "resume")
    press(visitor, rollout, "approve")
    with hub.database.session() as session:
        assert session.get_one(Rollout, rollout).approved_wave == 1
    assert "aborted" in press(visitor, rollout, "abort").text
    assert (buttons(), state_of(hub, rollout)) == ([], "aborted")
    entries = [entry for entry in read(hub.database) if entry.subject == f"rollouts/{rollout}"]
    assert [entry.action for entry in entries[-4:]] == [
        f"console.{name}" for name in ("pause_rollout", "resume_rollout", "approve_wave", "abort_rollout")
    ]
    assert {entry.actor_name for entry in entries[-4:]} == {"ada"}


def test_what_is_refused_is_said_on_the_page(visitor: TestClient, rollout: str) -> None:
    answer = press(visitor, rollout, "resume")
    assert answer.status_code == 200, "htmx shows nothing else"
    assert "cannot resume rollout" in answer.text
    assert press(visitor, "r-none", "pause").status_code == 404


def test_a_wave_that_needs_other_people_waits_for_them(visitor: TestClient, hub: HubContext, rollout: str) -> None:
    look(hub, rollout, "advance")
    with hub.database.transaction() as session:
        set_policy(session, "digits", production=0, rollout=1, by="ada")
    assert "once others have approved it" in press(visitor, rollout, "approve").text
    with hub.database.session() as session:
        assert session.get_one(Rollout, rollout).approved_wave == 0


def test_a_viewer_sees_it_without_buttons_and_does_nothing(hub: HubContext, rollout: str) -> None:
    with hub.database.transaction() as session:
        create_user(session, "vera", Role.VIEWER, password=PASSWORD, by="test", now=utc_now())
    with open_browser(hub) as browser:
        assert browser.post("/login", data={"name": "vera", "password": PASSWORD}).status_code == 303
        shown = page(browser, rollout)
        assert ("Wave" in shown, "hx-post" in shown) == (True, False)
        for command in ("pause", "abort", "approve", "resume"):
            assert press(browser, rollout, command).status_code == 403
    assert state_of(hub, rollout) == "running"
