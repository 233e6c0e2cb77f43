"""The console: who gets in, what is shown, and that what devices say cannot act in an operator's browser."""

import re
from typing import Any

import anyio
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import QueuePool

from shoal_contract.ledger import LedgerTotals, Traffic, month_of
from shoal_hub.api import create_app
from shoal_hub.context import HubContext
from shoal_hub.database import utc_now
from shoal_hub.devices.tables import Device
from shoal_hub.registry.tables import Model
from shoal_hub.rollouts.tables import Deployment, Rollout
from shoal_hub.traffic.limits import Limits, set_limits
from shoal_hub.traffic.take import take_totals

DEVICE = "d-" + "a" * 16
PARTS = [
    "/console/devices",
    "/console/rollouts",
    "/console/rollouts/r-abcdefgh",
    "/console/ledger",
    "/console/drift",
    "/console/drift/colours/1",
    "/console/automation",
    "/console/automation/runs/au-abcdefgh",
    "/console/stream",
]


def add_device(hub: HubContext, **columns: Any) -> None:
    given = {"id": DEVICE, "name": "kitchen", "public_key_sha256": "0" * 64, "certificate_serial": "1"}
    with hub.database.transaction() as session:
        session.add(Device(enrolled_at=utc_now(), **(given | columns)))


def test_a_stranger_is_sent_to_the_form_and_sees_nothing(browser: TestClient) -> None:
    for page in ("/", "/rollouts/r-abcdefgh", "/drift/colours/1", "/automation/runs/au-abcdefgh"):
        assert browser.get(page).headers["location"] == "/login"
    for part in PARTS:
        response = browser.get(part)
        assert (response.status_code, response.text, response.headers["hx-redirect"]) == (401, "", "/login")
    assert "token" in browser.get("/login").text


def test_a_page_runs_only_what_the_hub_serves(visitor: TestClient) -> None:
    pages = ("/rollouts/r-abcdefgh", "/drift/colours/1", "/automation/runs/au-abcdefgh")
    for path in ("/", "/account", "/console/devices", *pages):
        answer = visitor.get(path)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy
        assert re.findall(r"\son\w+=|<script>|style=|javascript:|(?:src|href)=.https?:", answer.text) == [], path
        for asset in re.findall(r'(?:src|href)="(/static/[^"]+)"', answer.text):
            assert visitor.get(asset).status_code == 200, asset


def test_what_shows_the_api_runs_only_if_it_is_the_very_bytes_that_the_hub_names(browser: TestClient) -> None:
    answer = browser.get("/api/docs")
    foreign = re.findall(r'<(?:script|link)[^>]*"https:[^>]*>', answer.text)
    assert len(foreign) == 2
    for tag in foreign:
        assert re.search(r'integrity="sha384-[A-Za-z0-9+/]{64}"', tag), tag
        assert 'crossorigin="anonymous"' in tag
        assert re.search(r"@\d+\.\d+\.\d+/", tag), "of one version"
    policy = answer.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert set(re.findall(r"https:\S+?(?=[; ])", policy)) == {"https://cdn.jsdelivr.net/npm/swagger-ui-dist@5.35.0/"}
    assert "/api/openapi.json" in browser.get("/static/api-docs.js").text
    assert browser.get("/api/openapi.json").status_code == 200


def test_an_empty_hub_says_what_to_do_next(visitor: TestClient) -> None:
    assert "shoal tokens create" in visitor.get("/console/devices").text
    assert "shoal rollouts start" in visitor.get("/console/rollouts").text


def test_a_device_is_shown_with_presence_version_problem_and_when_it_was_seen(
    visitor: TestClient, hub: HubContext
) -> None:
    reported = {
        "connection": 1,
        "sequence": 1,
        "at": utc_now().isoformat(),
        "epoch": 1,
        "generation": 1,
        "agent_version": "0.1.0",
        "hardware": {"kind": "jetson", "model": "Orin", "architecture": "aarch64", "cores": 6, "memory_bytes": 1},
        "runtimes": ["onnxruntime"],
        "targets": ["generic-onnx-int8"],
        "models": {
            "digits": {"active": {"version": 7, "target": "generic-onnx-int8", "sha256": "a" * 64, "state": "good"}}
        },
        "sections": {
            "models/digits": {
                "state": "failed",
                "problem": {"code": "x", "message": "it does not load", "remedy": "compress again"},
            }
        },
    }
    add_device(hub, presence="online", reported=reported, last_seen_at=utc_now())
    shown = visitor.get("/console/devices").text
    for text in ("kitchen", DEVICE, "online", "digits", "<strong>7</strong>", "Orin", "compress again", "s ago"):
        assert text in shown


def test_a_rollout_is_shown_with_its_state_and_progress(visitor: TestClient, hub: HubContext) -> None:
    add_device(hub)
    now = utc_now()
    with hub.database.transaction() as session:
        session.add(Model(name="digits", created_at=now))
        session.flush()
        rollout = Rollout(
            id="r-abcdefgh",
            model="digits",
            version=3,
            manifest_sha256="0" * 64,
            manifest_size_bytes=1,
            waves=[1],
            timeout_s=60,
            created_by="ada",
            created_at=now,
        )
        session.add(rollout)
        session.flush()
        session.add(Deployment(id="dp-1", rollout_id=rollout.id, device_id=DEVICE, wave=0, state="succeeded"))
    shown = visitor.get("/console/rollouts").text
    for text in ('href="/rollouts/r-abcdefgh"', "running", "wave 1 of 1", "1 of 1", "by ada"):
        assert text in shown


def test_a_rollouts_page_shows_its_waves_what_it_waits_for_and_its_thresholds(
    visitor: TestClient, hub: HubContext
) -> None:
    add_device(hub)
    plan = {"soak_s": 10**6, "thresholds": [{"percent": 50}]}
    rollout = Rollout(
        id="r-abcdefgh",
        model="digits",
        version=3,
        manifest_sha256="0" * 64,
        manifest_size_bytes=1,
        waves=[1, 4],
        timeout_s=60,
        plan=plan,
        wave_ended_at=utc_now(),
        created_by="ada",
        created_at=utc_now(),
    )
    with hub.database.transaction() as session:
        session.add(Model(name="digits", created_at=utc_now()))
        session.flush()
        session.add(rollout)
        session.flush()
        problem = {"code": "probe", "message": "<b>it smells</b>", "remedy": "open a window"}
        failed = Deployment(id="dp-1", rollout_id=rollout.id, device_id=DEVICE, wave=0, state="failed", problem=problem)
        session.add(failed)
    assert "/console/rollouts/r-abcdefgh" in visitor.get("/rollouts/r-abcdefgh").text
    shown = visitor.get("/console/rollouts/r-abcdefgh").text
    for text in ("1 failed", "the wave is watched until", "abort at 50% failures: 1 of 1 so far", "open a window"):
        assert text in shown
    assert "&lt;b&gt;it smells" in shown, "what a device says is text"
    missing = visitor.get("/console/rollouts/r-none")
    assert (missing.status_code, "no rollout r-none" in missing.text) == (404, True)


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "{{ 7 * 7 }}"])
def test_a_devices_name_is_text_and_nothing_else(visitor: TestClient, hub: HubContext, name: str) -> None:
    add_device(hub, name=name[:64])
    shown = visitor.get("/console/devices").text
    assert "<script>" not in shown
    assert "<img" not in shown
    assert "49" not in shown


@pytest.mark.parametrize("path", ["/static/../sessions.py", "/static/%2e%2e/sessions.py", "/static/nothing.js"])
def test_only_assets_are_served(visitor: TestClient, path: str) -> None:
    assert visitor.get(path).status_code == 404


@pytest.mark.anyio
async def test_an_open_page_holds_no_connection_to_the_database(hub: HubContext, visitor: TestClient) -> None:
    first = anyio.Event()
    cookie = "; ".join(f"{name}={value}" for name, value in visitor.cookies.items())
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "path": "/console/stream",
        "raw_path": b"/console/stream",
        "query_string": b"",
        "root_path": "",
        "scheme": "https",
        "server": ("testserver", 443),
        "client": ("127.0.0.1", 1),
        "headers": [(b"host", b"testserver"), (b"cookie", cookie.encode())],
    }

    async def receive() -> dict[str, Any]:
        await anyio.sleep_forever()
        raise AssertionError

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            assert message["status"] == 200
        if message.get("body"):
            first.set()

    async with anyio.create_task_group() as group:
        group.start_soon(create_app(hub), scope, receive, send)
        with anyio.fail_after(10):
            await first.wait()
        pool = hub.database.engine.pool
        assert isinstance(pool, QueuePool)
        held = pool.checkedout()
        group.cancel_scope.cancel()
    assert held == 0


def test_the_bytes_of_the_month_are_shown_beside_the_budget_and_a_name_is_only_text(
    visitor: TestClient, hub: HubContext
) -> None:
    assert "No device has told of its bytes" in visitor.get("/console/ledger").text
    add_device(hub, name="<b>kitchen</b>")
    month = month_of(utc_now())
    traffic = {"telemetry": Traffic(sent_bytes=1500), "artifacts_broker": Traffic(received_bytes=2_500_000)}
    with hub.database.transaction() as session:
        take_totals(session, {DEVICE: [LedgerTotals(stream=1, months={month: traffic})]}, utc_now())
        set_limits(session, "fleet", "", Limits(max_bytes_per_month=10**9), by="ada", now=utc_now())
    shown = visitor.get("/console/ledger").text
    assert "<b>kitchen" not in shown
    assert "&lt;b&gt;kitchen" in shown
    assert ("2.5 MB by the broker" in shown, "1.5 kB" in shown, "of 1.0 GB" in shown) == (True, True, True)
