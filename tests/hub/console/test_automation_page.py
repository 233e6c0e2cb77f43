"""Policies and runs in the console."""

from pathlib import Path

from fastapi.testclient import TestClient
from tests.hub.automation.loops import Loop
from tests.hub.automation.policies import TELL

from shoal_hub.context import HubContext


def test_policies_and_runs_are_listed_with_why(visitor: TestClient, hub: HubContext, tmp_path: Path) -> None:
    assert "No policy acts by itself" in visitor.get("/console/automation").text
    loop = Loop(hub, tmp_path)
    loop.set(then=[{"kind": "capture", "for_s": 60}, TELL])
    loop.step()
    assert "no drift signal" in visitor.get("/console/automation").text
    loop.drift(loop.devices[0])
    loop.step()
    shown = visitor.get("/console/automation").text
    [run] = loop.runs()
    assert f'href="/automation/runs/{run.id}"' in shown
    assert "have drifted on 1 of 3 devices" in shown


def test_a_runs_page_tells_its_story_and_what_it_does_now(visitor: TestClient, hub: HubContext, tmp_path: Path) -> None:
    loop = Loop(hub, tmp_path)
    loop.set(then=[{"kind": "capture", "for_s": 60}, TELL], description="<b>", guards={"approval": ["notify"]})
    loop.drift(loop.devices[0])
    loop.step()
    [run] = loop.runs()
    part = f"/console/automation/runs/{run.id}"
    assert "0 samples came" in visitor.get(part).text
    loop.step(60)
    shown = visitor.get(part).text
    assert "It began to ask devices for samples" in shown
    assert f"shoal automation approve {run.id} --content {loop.steps()[1].content_sha256}" in shown
    assert run.id in visitor.get(f"/automation/runs/{run.id}").text
    assert visitor.get("/console/automation/runs/au-unknown").status_code == 404
