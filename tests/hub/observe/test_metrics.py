"""What the hub tells of its fleet is what the database has, bounded, and only to who may see it."""

import shutil
import subprocess
from collections.abc import Iterator
from datetime import timedelta

import httpx
import pytest
from fastapi.testclient import TestClient
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_families
from sqlalchemy import text as sql
from sqlalchemy.exc import OperationalError
from tests.environments import ROOT
from tests.hub.observe.rows import add_fleet, add_window, numbers
from tests.hub.operators.conftest import Person, people_at
from tests.hub.statements import statements
from tests.simulators.rows import add_device

from shoal_hub.api import create_app
from shoal_hub.context import HubContext
from shoal_hub.database import Database, utc_now
from shoal_hub.errors import SettingsError
from shoal_hub.observe.exposition import HubMetrics, _Section
from shoal_hub.observe.listener import MetricsListener
from shoal_hub.observe.quality import Quality
from shoal_hub.operators.roles import Role, Scope
from shoal_hub.operators.tokens import create_token
from shoal_hub.operators.users import create_user


@pytest.fixture
def sqlite_person(sqlite_hub: HubContext) -> Iterator[Person]:
    yield from people_at(sqlite_hub)


def metrics_of(hub: HubContext, **settings: object) -> HubMetrics:
    return HubMetrics(hub.database, hub.settings.model_copy(update=settings))


def test_the_fleet_is_told_as_the_database_has_it(client: TestClient, hub: HubContext) -> None:
    devices = add_fleet(hub.database, utc_now())
    text = client.get("/metrics").text
    told = numbers(text)
    assert {state: told["shoal_devices", state] for state in ("online", "offline", "never", "revoked")} == {
        "online": 3, "offline": 1, "never": 1, "revoked": 1,
    }  # fmt: skip
    assert (told["shoal_devices_by_agent", "0.2.0"], told["shoal_devices_by_agent", "0.1.0"]) == (3, 1)
    assert told["shoal_devices_behind",] == 1, "the one that is offline is not told to hurry"
    assert (told["shoal_rollouts", "running"], told["shoal_rollouts", "succeeded"]) == (1, 1)
    deployments = {key[2:]: value for key, value in told.items() if key[0] == "shoal_rollout_deployments" and value}
    assert deployments == {("r-open", "succeeded", "2"): 1, ("r-open", "working", "2"): 2}, "of those that are open"
    assert (told["shoal_jobs", "delta", "queued"], told["shoal_jobs", "delta", "failed"]) == (1, 2)
    assert told["shoal_jobs_oldest_queued_seconds",] == pytest.approx(120, abs=10)
    assert told["shoal_alerts", "critical", "firing"] == 1
    assert told["shoal_drift_signal_devices", "digits", "plain", "2"] == 2
    assert not any(device in text for device in devices), "no series names a device"


def test_quality_is_that_of_the_recent_windows_of_each_version(client: TestClient, hub: HubContext) -> None:
    add_fleet(hub.database, utc_now())
    told = numbers(client.get("/metrics").text)
    assert told["shoal_model_recent_requests", "digits", "1"] == 40, "what is two hours old is over"
    assert told["shoal_model_recent_error_ratio", "digits", "1"] == 3 / 40
    assert told["shoal_model_recent_accuracy_ratio", "digits", "1"] == 7 / 8
    assert ("shoal_model_recent_accuracy_ratio", "digits", "2") not in told, "of no labelled sample no share is made"
    latency = {key[1]: value for key, value in told.items() if key[0] == "shoal_model_recent_latency_seconds_bucket"
               and key[3] == "1"}  # fmt: skip
    assert (latency["0.00025"], latency["0.0005"], latency["0.001"], latency["+Inf"]) == (1, 21, 28, 28)


def test_promtool_passes_all_that_is_told(client: TestClient, hub: HubContext) -> None:
    add_fleet(hub.database, utc_now())
    client.get("/metrics")
    found = shutil.which("promtool") or shutil.which("promtool", path=ROOT / ".cache" / "bin")
    if found is None:
        pytest.skip("promtool is not installed: scripts/setup test")
    text = client.get("/metrics").text
    checked = subprocess.run([found, "check", "metrics"], input=text, text=True, capture_output=True, check=False)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_who_asks_for_openmetrics_gets_it(sqlite_client: TestClient, sqlite_hub: HubContext) -> None:
    add_fleet(sqlite_hub.database, utc_now())
    answer = sqlite_client.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    kinds = {family.name: family.type for family in open_families(answer.text)}  # type: ignore[no-untyped-call]
    assert (kinds["shoal_events"], kinds["shoal_devices"]) == ("counter", "gauge")


def test_versions_of_agents_and_models_that_fleets_make_up_are_bounded(sqlite_hub: HubContext) -> None:
    now = utc_now()
    with sqlite_hub.database.transaction() as session:
        common = add_device(session, reported={"agent_version": "1.0"}).id
        for number in range(30):
            add_device(session, reported={"agent_version": f"made-up-{number:02}" + "x" * 200})
        add_device(session, reported={"agent_version": "1.0"})
        for version in range(1, 8):
            add_window(session, common, now, version=version, requests=version)
    told = numbers(metrics_of(sqlite_hub, metrics_max_versions=3).answer().content.decode())
    versions = {key[1]: value for key, value in told.items() if key[0] == "shoal_devices_by_agent"}
    assert (len(versions), versions["1.0"], versions["other"]) == (21, 2, 11)
    assert max(map(len, versions)) == 64
    assert {key[2] for key in told if key[0] == "shoal_model_recent_requests"} == {"5", "6", "7"}, "the busiest"
    assert told["shoal_model_versions_left_out",] == 4


def test_what_was_read_is_told_again_and_reading_takes_few_statements_however_many_devices(
    hub: HubContext,
) -> None:
    metrics = metrics_of(hub, metrics_fresh_s=3600)
    with hub.database.transaction() as session:
        for _ in range(50):
            add_device(session, presence="online")
    with statements(hub.database) as first:
        metrics.answer()
    with hub.database.transaction() as session:
        add_device(session, presence="online")
    with statements(hub.database) as second:
        told = numbers(metrics.answer().content.decode())
    assert len(first) < 50
    assert second == []
    assert told["shoal_devices", "online"] == 50


def test_a_database_that_does_not_answer_leaves_a_gap_and_all_else_is_told(sqlite_hub: HubContext) -> None:
    metrics = metrics_of(sqlite_hub, metrics_fresh_s=0)
    assert ("shoal_devices", "online") in numbers(metrics.answer().content.decode())
    with sqlite_hub.database.engine.begin() as connection:
        connection.execute(sql("ALTER TABLE devices RENAME TO elsewhere"))
    for section in metrics._sections:
        section._due_s = 0.0
    told = numbers(metrics.answer().content.decode())
    assert ("shoal_devices", "online") not in told, "a number that stands still would be a lie"
    assert ("shoal_rollouts", "running") in told
    assert ("shoal_windows_taken_total",) in told


def test_a_token_for_metrics_reads_them_and_nothing_else(sqlite_hub: HubContext) -> None:
    with sqlite_hub.database.transaction() as session:
        user = create_user(session, "prometheus", Role.VIEWER, password=None, by="test", now=utc_now())
        given = {scope: create_token(session, user, label="", role=Role.VIEWER, scopes={scope},
                                     life=timedelta(hours=1), by=None, now=utc_now()).text
                 for scope in (Scope.METRICS, Scope.READ, Scope.DEVICES)}  # fmt: skip
    status = {}
    with TestClient(create_app(sqlite_hub)) as caller:
        for scope, token in given.items():
            headers = {"authorization": f"Bearer {token}"}
            paths = ("/metrics", "/api/v1/devices")
            status[scope] = tuple(caller.get(path, headers=headers).status_code for path in paths)
        assert caller.get("/metrics").status_code == 401
    assert status == {Scope.METRICS: (200, 403), Scope.READ: (200, 200), Scope.DEVICES: (403, 403)}


def test_requests_are_counted_by_route_and_made_up_paths_by_none(
    sqlite_client: TestClient, sqlite_person: Person
) -> None:
    before = numbers(sqlite_client.get("/metrics").text)
    for number in range(3):
        assert sqlite_client.get(f"/api/v1/rollouts/r-{number}").status_code == 404
        sqlite_client.get(f"/made-up-{number}")
        sqlite_client.request(f"MADE{number}", "/api/v1/rollouts")
    assert sqlite_person("vera", Role.VIEWER).delete("/api/v1/tokens/x").status_code == 403
    after = numbers(sqlite_client.get("/metrics").text)
    grown = {key[1:]: value - before.get(key, 0) for key, value in after.items()
             if key[0] == "shoal_http_requests_total" and value > before.get(key, 0)}  # fmt: skip
    assert grown.pop(("GET", "/metrics", "200")) >= 1
    assert grown == {
        ("GET", "/api/v1/rollouts/{rollout_id}", "404"): 3,
        ("GET", "unmatched", "404"): 3,
        ("other", "/api/v1/rollouts", "405"): 3,
        ("DELETE", "/api/v1/tokens/{token_id}", "403"): 1,
    }


def test_the_listener_tells_whoever_reaches_its_address_the_metrics_and_nothing_else(sqlite_hub: HubContext) -> None:
    listener = MetricsListener("127.0.0.1:0", sqlite_hub.metrics)
    listener.start()
    try:
        url = f"http://127.0.0.1:{listener.port}"
        assert ("shoal_devices", "online") in numbers(httpx.get(f"{url}/metrics").text)
        assert httpx.get(f"{url}/api/v1/devices").status_code == 404
        assert httpx.post(f"{url}/metrics").status_code == 501
        with pytest.raises(SettingsError, match="SHOAL_METRICS_ADDRESS"):
            MetricsListener(f"127.0.0.1:{listener.port}", sqlite_hub.metrics)
    finally:
        listener.stop()


class Clock:
    """A monotonic clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.mark.parametrize(("fails", "rest_s"), [(True, 10.0), (False, 60.0)])
def test_one_slow_or_failed_reading_neither_freezes_nor_blanks_the_numbers_for_long(
    sqlite_hub: HubContext, monkeypatch: pytest.MonkeyPatch, *, fails: bool, rest_s: float
) -> None:
    clock, reads = Clock(), []
    monkeypatch.setattr("shoal_hub.observe.exposition.time", clock)

    def read(_session: object, _now: object) -> list[Metric]:
        reads.append(clock.now_s)
        clock.now_s += 15.0
        if fails:
            raise OperationalError("SELECT", {}, Exception("the server is away"))
        return []

    section = _Section("slow", read)
    for _ in range(100):
        section.refresh(sqlite_hub.database, utc_now(), 10.0)
        clock.now_s += 1.0
    assert reads[1] - reads[0] == 15.0 + rest_s


def test_who_asks_while_another_waits_for_the_database_is_told_what_is_kept(
    sqlite_hub: HubContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shoal_hub.observe.exposition._TURN_S", 0.01)
    metrics = metrics_of(sqlite_hub)
    metrics.answer()
    with metrics._lock:
        assert ("shoal_devices", "online") in numbers(metrics.answer().content.decode())


def test_sums_over_a_part_of_the_window_are_not_told_and_no_more_is_kept_than_it_takes(
    sqlite_database: Database,
) -> None:
    now = utc_now()
    with sqlite_database.transaction() as session:
        add_window(session, add_device(session).id, now)
    quality = Quality(timedelta(minutes=30), 10)
    told = []
    with sqlite_database.session() as session:
        told = [{family.name for family in quality.families(session, now)} for _ in range(2)]
        for minutes in range(60):
            list(quality.families(session, now + timedelta(minutes=minutes)))
    assert told[0] == set()
    assert "shoal_model_recent_requests" in told[1]
    assert len(quality._tallies._slices) <= 33
