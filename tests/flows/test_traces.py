"""One trace from a request over job, broker and device to what the hub takes in of it, as a collector sees it."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.flows.conftest import MODEL, TECHNIQUE, Fleet, add_source, running_fleet
from tests.hub.registry.bundles import write_bundle
from tests.simulators.collector import CollectedSpan, Collector

SLOW_S = 60.0


@pytest.fixture
def collector() -> Iterator[Collector]:
    opened = Collector()
    yield opened
    opened.close()


@pytest.fixture
def fleet(tmp_path: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    """The hub and one agent send their spans; the other agent has never heard of OpenTelemetry."""
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
    with running_fleet(tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint) as running:
        kitchen = running.agents[0]
        kitchen.stop()
        kitchen.environment["OTEL_EXPORTER_OTLP_ENDPOINT"] = collector.endpoint
        kitchen.start()
        yield running


def of_trace(spans: list[CollectedSpan], trace_id: str) -> list[CollectedSpan]:
    return [one for one in spans if one.trace_id == trace_id]


def chain(span: CollectedSpan, spans: list[CollectedSpan]) -> list[str]:
    """The names of a span and of those that it follows from, the first one at the front."""
    by_id = {one.span_id: one for one in spans}
    names = [span.name]
    while span.parent_id in by_id:
        span = by_id[span.parent_id]
        names.insert(0, span.name)
    return names


@pytest.mark.slow
def test_one_trace_runs_through_api_job_broker_device_and_ingest(
    fleet: Fleet, collector: Collector, tmp_path: Path
) -> None:
    bundle = write_bundle(tmp_path / "one", seed=0)
    add_source(bundle)
    number = fleet.client.models.register_bundle(bundle).number
    trace_id, caller = secrets.token_hex(16), secrets.token_hex(8)
    with fleet.hub.client() as traced:
        traced.follow(f"00-{trace_id}-{caller}-01")
        job = traced.models.compress(MODEL, number, [TECHNIQUE])
        fleet.client.wait_for_job(job.id)
        rollout = traced.rollouts.start(MODEL, str(number))
    fleet.watch(rollout.id, "succeeded")
    kitchen, garden = fleet.device_ids

    def is_whole(spans: list[CollectedSpan]) -> bool:
        mine = of_trace(spans, trace_id)
        ingested = {one.attributes["device"] for one in mine if one.name == "ingest"}
        return ingested == {kitchen, garden} and "deploy" in {one.name for one in mine}

    mine = of_trace(collector.wait_for(is_whole, SLOW_S), trace_id)
    started = "POST /api/v1/rollouts"
    told = "publish desired state"
    assert {one.process for one in mine if one.service == "shoal-hub"} == {"api", "job", "controller", "ingest"}
    [work] = [one for one in mine if one.process == "job"]
    assert chain(work, mine)[-1] == "job compress"
    assert chain(work, mine)[0].startswith("POST /api/v1/models/{")
    roots = [one for one in mine if one.parent_id == caller]
    assert len(roots) == 2, "both requests follow from the caller"
    chains = {(one.attributes["device"], *chain(one, mine)) for one in mine if one.name == "ingest"}
    assert (kitchen, started, "advance rollout", told, "deploy", "ingest") in chains, "a device with spans of its own"
    assert (garden, started, "advance rollout", told, "ingest") in chains, "a device without OpenTelemetry"
    [deploy] = [one for one in mine if one.name == "deploy"]
    assert deploy.service == "shoal-agent"
    assert deploy.events[-1] == "commit"
    assert not any(one.is_error for one in mine)
