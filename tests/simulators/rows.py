"""Rows that many of the hub's tests need."""

import hashlib
from datetime import UTC, datetime
from typing import Any

from sqlmodel import Session

from shoal_contract.ids import new_device_id
from shoal_contract.reported import Hardware, ReportedState, SectionReport
from shoal_hub.devices.presence import apply_reports
from shoal_hub.devices.tables import Device
from shoal_hub.registry.artifacts import ArtifactStore, store_artifact
from shoal_hub.registry.tables import Model, VariantRow, Version

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
HARDWARE = Hardware(kind="generic", model="test board", architecture="x86_64", cores=2, memory_bytes=2**30)


def add_device(session: Session, device_id: str = "", **changes: Any) -> Device:
    """Add a device as enrolment would."""
    device_id = device_id or new_device_id()
    fields: dict[str, Any] = {
        "id": device_id,
        "name": device_id,
        "public_key_sha256": hashlib.sha256(device_id.encode()).hexdigest(),
        "certificate_serial": "1",
        "enrolled_at": NOON,
    }
    device = Device(**(fields | changes))
    session.add(device)
    session.flush()
    return device


def apply_reported(session: Session, device_id: str, report: ReportedState, now: datetime) -> bool:
    """Keep a device's reported state as ingest would; return whether it was newer than the one kept."""
    return apply_reports(session, {device_id: report}, now) == 1


def make_report(**changes: Any) -> ReportedState:
    """Return a reported state of a device that can run both targets."""
    fields: dict[str, Any] = {
        "connection": 1,
        "sequence": 1,
        "at": NOON,
        "epoch": 0,
        "generation": 0,
        "agent_version": "0.1.0",
        "hardware": HARDWARE,
        "runtimes": ("onnxruntime",),
        "targets": ("generic-onnx-int8",),
    }
    return ReportedState(**(fields | changes))


def section(state: str, deployment: str, **changes: Any) -> SectionReport:
    """Return a section's report."""
    return SectionReport.model_validate({"state": state, "deployment": deployment} | changes)


def add_version(
    session: Session,
    store: ArtifactStore,
    number: int,
    targets: dict[str, bytes],
    model: str = "digits",
    *,
    is_encrypted: bool = False,
) -> Version:
    """Add a version whose variants are these bytes."""
    if session.get(Model, model) is None:
        session.add(Model(name=model, created_at=NOON))
        session.flush()
    edges = {"edges": (0.5,), "counts": (1, 1)}
    one = {"datatype": "FP32", "shape": (1,), "data": "AACAPw=="}
    version = Version(
        model=model,
        number=number,
        algorithm="test",
        author="test",
        framework="test",
        metrics={},
        parameters={},
        tags=[],
        is_encrypted=is_encrypted,
        inputs=[{"name": "x", "datatype": "FP32", "shape": (1,)}],
        outputs=[{"name": "y", "datatype": "FP32", "shape": (1,)}],
        labels=[],
        baseline={
            "samples": 2,
            "features": [{"name": "x", **edges}],
            "predictions": [2],
            "confidence": {"name": "confidence", **edges},
        },
        provenance={"source_sha256": "0" * 64, "data_sha256": "0" * 64, "recipe": {}},
        golden_inputs={"x": one},
        files={"bundle.json": "0" * 64},
        created_at=NOON,
        created_by="test",
    )
    session.add(version)
    session.flush()
    for target, data in targets.items():
        stored = store_artifact(session, store, data)
        session.add(
            VariantRow(
                version_id=version.id,
                target=target,
                runtime="onnxruntime",
                format="onnx",
                precision="int8",
                sha256=stored.sha256,
                size_bytes=stored.size_bytes,
                golden_outputs={"y": one},
                golden_tolerance=0.1,
                created_at=NOON,
            )
        )
    session.flush()
    return version
