"""One example of every message of the contract, written out in full: what the golden files pin.

Each is built with a value for every field, so that a renamed, dropped or reordered field changes its bytes.
"""

import base64
from collections.abc import Callable
from datetime import timedelta
from typing import Final, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.contract.golden_batches import batch_result, desired_batches
from tests.contract.golden_batching import one_sample_manifest
from tests.contract.golden_benchmarks import benchmark_operators, benchmark_result, desired_benchmarks
from tests.contract.golden_captures import capture_offer, capture_record, desired_captures
from tests.contract.golden_compositions import desired_compositions
from tests.contract.golden_drift import desired_fall_back, fallen_back
from tests.contract.golden_enrolment import (
    DEVICE,
    HARDWARE,
    NOON,
    enrolment_request,
    enrolment_response,
    renewal_request,
    renewal_response,
)
from tests.contract.golden_features import desired_features
from tests.contract.golden_handover import desired_handover
from tests.contract.golden_processing import image_manifest, table_manifest
from tests.contract.golden_watching import shadow_window, watched_manifest, watched_window, weighed_window
from tests.contract.golden_windows import performance_window, sampled_window, window

from shoal_contract import envelope, limits
from shoal_contract.ack import Ack, BlobAnswer
from shoal_contract.artifact_ref import ArtifactRef
from shoal_contract.batch import BatchChannel, OutboxBatch, pack
from shoal_contract.captures import CaptureRecord
from shoal_contract.carrying import CarryingReport, load
from shoal_contract.desired import DesiredConfig, DesiredModel, DesiredRound, DesiredSite, DesiredState, DesiredTrial
from shoal_contract.device_request import ArtifactRequest
from shoal_contract.encryption import EncryptedFile, WrappedKey, encrypted_size
from shoal_contract.enrolment import (
    EnrolmentPending,
    EnrolmentRequest,
    EnrolmentResponse,
    RenewalRequest,
    RenewalResponse,
)
from shoal_contract.ledger import LedgerTotals, Traffic
from shoal_contract.manifest import (
    Baseline,
    FeatureBaseline,
    Provenance,
    TensorData,
    TensorSpec,
    Variant,
    VersionManifest,
)
from shoal_contract.reported import (
    ModelReport,
    Presence,
    Problem,
    ReportedState,
    SectionReport,
    SlotReport,
    TrustReport,
)
from shoal_contract.telemetry import (
    BlobOffer,
    DeploymentEvent,
    EncryptionKeyReplaced,
    Event,
    EventBody,
    Heartbeat,
    LoadShed,
    MissingArtifact,
    OutboxPosition,
    PassedStep,
    RoundResult,
    TelemetryMessage,
    VersionCost,
)
from shoal_contract.transfer import DeltaRef, TransferManifest, describe
from shoal_contract.trust import TrustIndex
from shoal_contract.update_policy import MaintenanceWindow, Retry, UpdatePolicy
from shoal_contract.wire import WireMessage, parse_message

DIRECTOR: Final = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
"""RFC 8032 signatures are deterministic: the same key and payload always give the same envelope."""
_PROBLEM: Final = Problem(
    code="golden_mismatch",
    message="self-test of digits version 4: largest difference 0.31 found, at most 0.05 expected",
    remedy="compress the version again for pi4-litert-int8, and compare its golden outputs",
)
_POLICY: Final = UpdatePolicy(
    priority=5,
    download_only=True,
    activate_at=NOON + timedelta(hours=1),
    windows=(MaintenanceWindow(days=("sat", "sun"), start="22:30", minutes=240),),
    fetch_in_window=True,
    expires_at=NOON + timedelta(days=7),
    retries={"self_test": Retry(attempts=3, wait_s=60.0)},
    fetch_timeout_s=3600.0,
    progress_s=20.0,
    activate_timeout_s=90.0,
    probes=("camera",),
)
_POSITION: Final = OutboxPosition(stream="0123456789abcdef", sequence=42, oldest=40)


class Golden(NamedTuple):
    """A message, the class that reads it and the bound of its kind."""

    message: WireMessage
    kind: type[WireMessage]
    max_bytes: int


def _sha(digit: str) -> str:
    return digit * 64


def desired_state() -> DesiredState:
    return DesiredState(
        device_id=DEVICE,
        epoch=1,
        generation=1_772_366_400_000,
        issued_at=NOON,
        expires_at=NOON + timedelta(days=30),
        models={
            "digits": DesiredModel(
                version=3,
                target="pi4-litert-int8",
                manifest=ArtifactRef(sha256=_sha("a"), size_bytes=18_044),
                deployment="dp-7k2m4q6z",
                key=WrappedKey(recipient=_sha("3"), data=base64.b64encode(bytes(range(80))).decode()),
                policy=_POLICY,
                is_urgent=True,
            )
        },
        federated={
            "run-b3c4d5e6": DesiredRound(
                run="run-b3c4d5e6",
                round=2,
                dataset="labelled",
                trainer=ArtifactRef(sha256=_sha("b"), size_bytes=65_536),
                weights=ArtifactRef(sha256=_sha("c"), size_bytes=40_960),
                epochs=1,
                batch_size=32,
                learning_rate=0.05,
                seed=7,
                update_scheme="int8",
                max_update_bytes=1_048_576,
                deadline_at=NOON + timedelta(minutes=10),
            )
        },
        trials={
            "digits": DesiredTrial(
                id="t-5f6g7h2j",
                mode="shadow",
                candidate=DesiredModel(
                    version=4,
                    target="pi4-litert-int8",
                    manifest=ArtifactRef(sha256=_sha("d"), size_bytes=18_112),
                    deployment="t-5f6g7h2j",
                ),
                against=3,
                share=0.1,
                salt="0123456789abcdef",
                ends_at=NOON + timedelta(days=7),
                max_cpu_share=0.2,
                max_memory_bytes=268_435_456,
                tolerance=0.05,
                hard_examples=4,
            )
        },
        config=DesiredConfig(
            heartbeat_s=15.0,
            window_requests=500,
            window_s=30.0,
            reconnect_jitter_s=4.5,
            max_fetch_bytes_per_s=65_536,
            max_bytes_per_month=500_000_000,
        ),
        site=DesiredSite(
            name="warehouse", cache=DEVICE, host="192.168.7.20", port=8471, members=("d-bcdefghi234567ab",)
        ),
    )


def manifest() -> VersionManifest:
    image = TensorData(datatype="UINT8", shape=(1, 2, 2, 1), data="AAECAw==")
    scores = TensorData(datatype="FP32", shape=(1, 2), data="AACAPwAAAAA=")
    return VersionManifest(
        model="digits",
        version=3,
        created_at=NOON,
        inputs=(TensorSpec(name="image", datatype="UINT8", shape=(-1, 2, 2, 1)),),
        outputs=(TensorSpec(name="scores", datatype="FP32", shape=(-1, 2)),),
        labels=("zero", "one"),
        golden_inputs={"image": image},
        variants=(
            Variant(
                target="pi4-litert-int8",
                runtime="litert",
                format="tflite",
                precision="int8",
                sha256=_sha("d"),
                size_bytes=21_504,
                golden_outputs={"scores": scores},
                golden_tolerance=0.05,
            ),
            Variant(
                target="jetson-orin-onnx-fp16",
                runtime="onnxruntime",
                format="onnx",
                precision="fp16",
                sha256=_sha("e"),
                size_bytes=40_320,
                golden_outputs={"scores": scores},
                golden_tolerance=0.01,
                encrypted=EncryptedFile(sha256=_sha("4"), size_bytes=40_336),
            ),
        ),
        baseline=Baseline(
            samples=1437,
            features=(FeatureBaseline(name="pixel 0", edges=(0.5, 8.0, 15.5), counts=(1000, 200, 200, 37)),),
            predictions=(720, 717),
            confidence=FeatureBaseline(name="confidence", edges=(0.5, 0.9), counts=(3, 34, 1400)),
        ),
        provenance=Provenance(
            source_sha256=_sha("f"),
            data_sha256=_sha("0"),
            parent_version=2,
            federated_run="run-b3c4d5e6",
            recipe={"quantization": "int8", "calibration": "256 samples"},
        ),
    )


def reported_state() -> ReportedState:
    slot = SlotReport(version=3, target="jetson-orin-onnx-fp16", sha256=_sha("e"), state="good")
    return ReportedState(
        connection=5,
        sequence=12,
        at=NOON,
        epoch=1,
        generation=1_772_366_400_000,
        agent_version="0.1.0",
        time_zone="Europe/Berlin",
        hardware=HARDWARE,
        memory_available_bytes=3_221_225_472,
        runtimes=("onnxruntime",),
        targets=("jetson-orin-onnx-fp16", "onnx-int8"),
        datasets={"labelled": 240},
        models={
            "digits": ModelReport(
                active=slot,
                previous=slot.model_copy(update={"version": 2}),
                candidate=slot.model_copy(update={"version": 4, "state": "bad"}),
            )
        },
        sections={
            "models/digits": SectionReport(
                state="failed", step="self-test", deployment="dp-7k2m4q6z", problem=_PROBLEM
            ),
            "config": SectionReport(state="applied"),
        },
        trust=TrustReport(
            root_version=3,
            timestamp_version=1_772_366_400_000,
            targets_version=1_772_280_000_000,
            epochs=(1, 2),
            floor_at=NOON,
            problem=_PROBLEM,
        ),
        problem=_PROBLEM,
    )


def transfer_manifest() -> TransferManifest:
    described = describe(bytes(range(256)) * 130, chunk_bytes=limits.CHUNK_SIZES_BYTES[0])
    secret = EncryptedFile(sha256=_sha("5"), size_bytes=encrypted_size(900))
    deltas = {
        _sha("1"): DeltaRef(sha256=_sha("2"), size_bytes=1200),
        _sha("3"): DeltaRef(sha256=_sha("4"), size_bytes=900, encrypted=secret),
    }
    return described.model_copy(update={"deltas": deltas})


def _event(body: EventBody) -> Event:
    return Event(event_id="00112233445566778899aabbccddeeff", outbox=_POSITION, at=NOON, body=body)


def _heartbeat() -> Heartbeat:
    return Heartbeat(
        at=NOON,
        uptime_s=3600.5,
        memory_bytes=98_566_144,
        load=0.42,
        temperature_c=51.5,
        outbox_depth=3,
        connection=5,
        sequence=120,
        ledger=LedgerTotals(
            stream=1_772_366_400_000,
            months={
                "2026-02": {"control": Traffic(received_bytes=40_960, sent_bytes=81_920)},
                "2026-03": {
                    "artifacts_broker": Traffic(received_bytes=5_242_880, sent_bytes=262_144),
                    "artifacts_cache": Traffic(received_bytes=1_048_576),
                    "artifacts_https": Traffic(received_bytes=70_000_000, sent_bytes=900_000),
                    "telemetry": Traffic(received_bytes=2_048, sent_bytes=65_536),
                    "federated": Traffic(sent_bytes=131_072),
                    "control": Traffic(received_bytes=4_096, sent_bytes=8_192),
                },
            },
        ),
    )


def _deployment_event() -> DeploymentEvent:
    return DeploymentEvent(
        model="digits",
        version=4,
        deployment="dp-7k2m4q6z",
        step="fail",
        fetched_bytes=21_504,
        duration_s=1.25,
        cost=VersionCost(sha256=_sha("e"), latency_p50_ms=2.5, runs=21, memory_bytes=8_388_608),
        passed=(PassedStep(step="fetch", duration_s=0.25), PassedStep(step="verify", duration_s=1.0)),
        problem=_PROBLEM,
    )


def _round_result() -> RoundResult:
    return RoundResult(
        run="run-b3c4d5e6",
        round=2,
        outcome="trained",
        update_sha256=_sha("3"),
        update_bytes=10_240,
        examples=240,
        loss_before=1.75,
        loss_after=0.5,
        duration_s=2.5,
        peak_memory_bytes=64_000_000,
        problem=_PROBLEM,
    )


def _load_shed() -> LoadShed:
    return LoadShed(
        reason="hot", level=2, temperature_c=85.5, available_memory_bytes=1_073_741_824, models=("digits", "faces")
    )


def _batch(channel: BatchChannel, *messages: WireMessage) -> Golden:
    payload = pack(_POSITION, channel, [message.to_bytes() for message in messages])
    return Golden(parse_message(OutboxBatch, payload, limits.MAX_REPORT_BYTES), OutboxBatch, limits.MAX_REPORT_BYTES)


def _carrying() -> Golden:
    payload = load(reported_state().to_bytes(), _POSITION, [_event(_deployment_event()).to_bytes()])
    report = parse_message(CarryingReport, payload, limits.MAX_REPORT_BYTES)
    return Golden(report, CarryingReport, limits.MAX_REPORT_BYTES)


def desired_drift() -> DesiredState:
    """What drift tolerates on a device, set for it."""
    config = DesiredConfig(drift_tolerance=0.1, drift_warm_up_windows=200, drift_is_recentred=True)
    return desired_state().model_copy(update={"config": config})


def _ack() -> Ack:
    return Ack(
        stream="0123456789abcdef",
        sequence=41,
        blobs={
            _sha("3"): BlobAnswer(state="credit", missing=(0, 2)),
            _sha("4"): BlobAnswer(state="stored"),
            _sha("5"): BlobAnswer(state="refused", reason="no round expects this update"),
        },
    )


MESSAGES: Final[dict[str, Golden]] = {
    "ack-compact": Golden(
        Ack(stream="0123456789abcdef", sequence=41, reads_compact=True), Ack, limits.MAX_REPORT_BYTES
    ),
    "desired-drift": Golden(desired_drift(), DesiredState, limits.MAX_ENVELOPE_BYTES),
    "desired-state": Golden(desired_state(), DesiredState, limits.MAX_ENVELOPE_BYTES),
    "desired-compositions": Golden(desired_compositions(), DesiredState, limits.MAX_ENVELOPE_BYTES),
    "desired-handover": Golden(desired_handover(), DesiredState, limits.MAX_ENVELOPE_BYTES),
    "desired-fall-back": Golden(desired_fall_back(), DesiredState, limits.MAX_ENVELOPE_BYTES),
    "desired-features": Golden(desired_features(), DesiredState, limits.MAX_ENVELOPE_BYTES),
    "version-manifest": Golden(manifest(), VersionManifest, limits.MAX_MANIFEST_BYTES),
    "version-manifest-image": Golden(image_manifest(manifest()), VersionManifest, limits.MAX_MANIFEST_BYTES),
    "version-manifest-one-sample": Golden(one_sample_manifest(manifest()), VersionManifest, limits.MAX_MANIFEST_BYTES),
    "version-manifest-table": Golden(table_manifest(manifest()), VersionManifest, limits.MAX_MANIFEST_BYTES),
    "version-manifest-watched": Golden(watched_manifest(manifest()), VersionManifest, limits.MAX_MANIFEST_BYTES),
    "transfer-manifest": Golden(transfer_manifest(), TransferManifest, limits.MAX_CHUNK_LIST_BYTES),
    "presence-online": Golden(
        Presence(state="online", connection=5, sequence=1, since=NOON, instance="00112233445566aa"),
        Presence,
        limits.MAX_REPORT_BYTES,
    ),
    "presence-offline": Golden(
        Presence(
            state="offline", connection=5, sequence=0, since=NOON, reason="connection lost", instance="00112233445566aa"
        ),
        Presence,
        limits.MAX_REPORT_BYTES,
    ),
    "reported-state": Golden(reported_state(), ReportedState, limits.MAX_REPORT_BYTES),
    "reported-fall-back": Golden(fallen_back(reported_state()), ReportedState, limits.MAX_REPORT_BYTES),
    "reported-carrying": _carrying(),
    "telemetry-heartbeat": Golden(TelemetryMessage(body=_heartbeat()), TelemetryMessage, limits.MAX_REPORT_BYTES),
    "telemetry-window": Golden(TelemetryMessage(body=window()), TelemetryMessage, limits.MAX_REPORT_BYTES),
    "telemetry-window-sampled": Golden(
        TelemetryMessage(body=sampled_window()), TelemetryMessage, limits.MAX_REPORT_BYTES
    ),
    "telemetry-window-performance": Golden(
        TelemetryMessage(body=performance_window()), TelemetryMessage, limits.MAX_REPORT_BYTES
    ),
    "telemetry-window-weighed": Golden(
        TelemetryMessage(body=weighed_window(window())), TelemetryMessage, limits.MAX_REPORT_BYTES
    ),
    "telemetry-window-watched": Golden(
        TelemetryMessage(body=watched_window(window())), TelemetryMessage, limits.MAX_REPORT_BYTES
    ),
    "telemetry-shadow": Golden(
        TelemetryMessage(body=shadow_window(_POSITION)), TelemetryMessage, limits.MAX_REPORT_BYTES
    ),
    "event-deployment": Golden(_event(_deployment_event()), Event, limits.MAX_REPORT_BYTES),
    "event-blob-offer": Golden(
        _event(BlobOffer(sha256=_sha("3"), size_bytes=10_240, chunk_bytes=131_072)), Event, limits.MAX_REPORT_BYTES
    ),
    "desired-captures": Golden(desired_captures(), DesiredState, limits.MAX_ENVELOPE_BYTES),
    "event-capture-offer": Golden(_event(capture_offer()), Event, limits.MAX_REPORT_BYTES),
    "capture-record": Golden(capture_record(), CaptureRecord, limits.MAX_REPORT_BYTES),
    "desired-batches": Golden(desired_batches(), DesiredState, limits.MAX_ENVELOPE_BYTES),
    "desired-benchmarks": Golden(desired_benchmarks(), DesiredState, limits.MAX_ENVELOPE_BYTES),
    "event-benchmark-operators": Golden(_event(benchmark_operators()), Event, limits.MAX_REPORT_BYTES),
    "event-benchmark-result": Golden(_event(benchmark_result(_PROBLEM)), Event, limits.MAX_REPORT_BYTES),
    "event-batch-result": Golden(_event(batch_result(_PROBLEM)), Event, limits.MAX_REPORT_BYTES),
    "event-round-result": Golden(_event(_round_result()), Event, limits.MAX_REPORT_BYTES),
    "event-missing-artifact": Golden(
        _event(MissingArtifact(sha256=_sha("d"), detail="silent for 10 s")), Event, limits.MAX_REPORT_BYTES
    ),
    "event-encryption-key-replaced": Golden(
        _event(EncryptionKeyReplaced(encryption_key=_sha("8"))), Event, limits.MAX_REPORT_BYTES
    ),
    "event-load-shed": Golden(_event(_load_shed()), Event, limits.MAX_REPORT_BYTES),
    "events": _batch("events", _event(_deployment_event()), _event(_round_result())),
    "windows": _batch("windows", TelemetryMessage(body=window()), TelemetryMessage(body=shadow_window(_POSITION))),
    "ack": Golden(_ack(), Ack, limits.MAX_REPORT_BYTES),
    "enrolment-request": Golden(enrolment_request(), EnrolmentRequest, limits.MAX_REPORT_BYTES),
    "enrolment-response": Golden(enrolment_response(), EnrolmentResponse, limits.MAX_REPORT_BYTES),
    "enrolment-pending": Golden(
        EnrolmentPending(key_sha256=_sha("e"), retry_after_s=5.0), EnrolmentPending, limits.MAX_REPORT_BYTES
    ),
    "renewal-request": Golden(renewal_request(), RenewalRequest, limits.MAX_REPORT_BYTES),
    "renewal-response": Golden(renewal_response(), RenewalResponse, limits.MAX_REPORT_BYTES),
    "artifact-request": Golden(
        ArtifactRequest(device_id=DEVICE, sha256=_sha("a"), at=NOON), ArtifactRequest, limits.MAX_DEVICE_REQUEST_BYTES
    ),
    "trust-index": Golden(
        TrustIndex(names=("1.root", "1772366400000.models%2Fdigits")), TrustIndex, limits.MAX_REPORT_BYTES
    ),
}

ENVELOPES: Final[dict[str, Callable[[], bytes]]] = {
    "envelope-desired-state": lambda: envelope.sign(
        desired_state().to_bytes(), envelope.DESIRED_STATE_TYPE, DIRECTOR, "director-1"
    ),
}


def wire_bytes(name: str) -> bytes:
    """The bytes that go over the wire for the example `name`."""
    return ENVELOPES[name]() if name in ENVELOPES else MESSAGES[name].message.to_bytes()
