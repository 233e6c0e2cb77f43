"""A deployment stays in the trace of whoever asked for it, without OpenTelemetry; where nobody says one is none."""

import json
import subprocess
import sys
from pathlib import Path

import anyio
import pytest
from tests.agent.simulators.director import DEVICE
from tests.agent.test_carrying import REPORTED, Device
from tests.agent.test_uplink import Sender

from shoal_agent.errors import TracingError
from shoal_agent.traces import Traced, Traces, as_properties, open_traces, with_context
from shoal_contract.artifact_ref import ArtifactRef
from shoal_contract.desired import DesiredModel, DesiredState
from shoal_contract.telemetry import DeploymentEvent, DeploymentStep, MissingArtifact
from shoal_contract.trace_context import TraceContext

pytestmark = pytest.mark.anyio
NOON = "2026-01-01T12:00:00Z"
FIRST = TraceContext("a" * 32, "1" * 16, is_sampled=True)
SECOND = TraceContext("b" * 32, "2" * 16, is_sampled=True)


def state(*deployments: str) -> DesiredState:
    manifest = ArtifactRef(sha256="0" * 64, size_bytes=1)
    models = {f"m{one}": DesiredModel(version=1, deployment=one, manifest=manifest, target="t") for one in deployments}
    return DesiredState.model_validate(
        {"device_id": DEVICE, "epoch": 1, "generation": 1, "issued_at": NOON, "expires_at": NOON, "models": models}
    )


def asked_by(context: TraceContext) -> bytes:
    return with_context(b"envelope", as_properties([context]))


def event(deployment: str, step: DeploymentStep = "commit") -> DeploymentEvent:
    return DeploymentEvent(model="m", version=1, deployment=deployment, step=step)


def test_an_event_follows_from_the_message_that_first_asked_for_its_deployment() -> None:
    traces = Traces()
    traces.follow(state("a"), asked_by(FIRST))
    traces.follow(state("a", "b"), asked_by(SECOND))
    traces.follow(state("a", "b", "c"), b"said without a trace")
    for sequence, deployment in enumerate("abc", start=1):
        traces.note(sequence, event(deployment))
    traces.note(4, MissingArtifact(sha256="0" * 64))
    assert [traces.of([sequence]) for sequence in range(1, 5)] == [(FIRST,), (SECOND,), (), ()]
    assert traces.of(range(1, 5)) == (FIRST, SECOND), "several in one message: each trace once, in their order"


def test_what_the_hub_has_is_forgotten_and_what_never_gets_there_is_bounded() -> None:
    traces = Traces()
    traces.follow(state("a"), asked_by(FIRST))
    for sequence in range(1, 5000):
        traces.note(sequence, event("a"))
    assert (traces.of([1]), traces.of([4999])) == ((), (FIRST,))
    traces.forget(4998)
    assert (traces.of([4998]), traces.of([4999])) == ((), (FIRST,))


def test_a_message_is_its_payload_whatever_it_follows_from() -> None:
    assert with_context(b"x", [("traceparent", "no"), ("other", "thing")]) == b"x"
    assert not isinstance(with_context(b"x", []), Traced)
    assert asked_by(FIRST) == b"envelope"
    assert json.loads(with_context(b'{"a": 1}', as_properties([FIRST]))) == {"a": 1}


async def test_events_that_travel_together_say_every_trace_and_those_by_themselves_their_own(tmp_path: Path) -> None:
    sender = Sender(tmp_path, batch_messages=32, window=32)
    traces = sender.uplink._traces
    traces.follow(state("a"), asked_by(FIRST))
    traces.follow(state("b"), asked_by(SECOND))
    async with sender.running():
        with anyio.fail_after(5):
            for deployment in ("a", "b", "other"):
                body = event(deployment)
                traces.note(sender.outbox.put("event", "deployment", _message(body)), body)
            await sender.link.wait_for(1)
            assert sender.link.traces[-1] == (FIRST, SECOND)
            await sender.link.acknowledge(sender.outbox.stream, sender.outbox.last())
            while sender.outbox.depth():  # noqa: ASYNC110 - nobody is told
                await anyio.sleep(0.01)
            assert traces.of(range(10)) == ()
    sender.outbox.close()


async def test_what_a_report_carries_is_in_the_traces_of_its_events_and_the_next_report_in_none(
    tmp_path: Path,
) -> None:
    device = Device(tmp_path)
    uplink = device.sender.uplink
    device.reporter.carried = lambda: uplink.carried
    uplink._traces.follow(state("a"), asked_by(FIRST))
    async with device.running():
        with anyio.fail_after(5):
            body = event("a")
            device.link.traces.clear()
            sequence = device.sender.outbox.put("event", "deployment", _message(body), linger_s=60)
            uplink._traces.note(sequence, body)
            device.reporter.touch()
            await device.reports(1)
            await device.sender.link.acknowledge(device.sender.outbox.stream, sequence)
            device.reporter.touch()
            await device.reports(2)
    said = [
        traces for (topic, _), traces in zip(device.link.sent, device.link.traces, strict=True) if topic == REPORTED
    ]
    assert said == [(FIRST,), ()]
    device.sender.outbox.close()


def _message(body: DeploymentEvent) -> bytes:
    message = {"schema_version": 1, "event_id": "0" * 32, "at": NOON, "body": json.loads(body.model_dump_json())}
    return json.dumps(message).encode()


def test_an_agent_that_sends_no_spans_imports_nothing_of_opentelemetry() -> None:
    code = "import sys, shoal_agent.daemon as d, shoal_agent.traces as t; t.open_traces('', 'd')\n"
    code += "print([one for one in sys.modules if one.startswith(('opentelemetry', 'requests', 'google.protobuf'))])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"


def test_spans_without_the_extra_are_refused_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(TracingError, match="http://collector:4318") as refused:
        open_traces("http://collector:4318", DEVICE)
    assert "pip install 'shoal[otel]'" in refused.value.remedy
