"""An enrolled device's data folder with one ONNX model in it, and the real `shoal-agent run` on it.

No hub and no broker run: the agent serves its last good version without them, and keeps trying to connect.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import NamedTuple

import numpy as np
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.agent.simulators.repository_fetcher import MemoryFetcher
from tests.simulators.tuf_repository import TufRepository

from shoal_agent.clock import Clock
from shoal_agent.engines import load_engine, to_tensor_data
from shoal_agent.identity import load_or_make_key, save_identity
from shoal_agent.settings import TrustSettings
from shoal_agent.slots import SlotFile, Slots, slot_for
from shoal_agent.tuf.client import TufClient
from shoal_contract.artifact_ref import ArtifactRef
from shoal_contract.desired import DesiredModel
from shoal_contract.enrolment import EnrolmentResponse
from shoal_contract.ids import sha256_hex
from shoal_contract.manifest import (
    Baseline,
    FeatureBaseline,
    Provenance,
    TensorSpec,
    Variant,
    VersionManifest,
)
from shoal_numerics import STATISTICS

MODEL = "digits"
TARGET = "generic-onnx-float32"
INPUTS = (TensorSpec(name="x", datatype="FP32", shape=(-1, 1, 8, 8)),)
OUTPUTS = (TensorSpec(name="probabilities", datatype="FP32", shape=(-1, 10)),)
START_TIMEOUT_S = 60.0


class Served(NamedTuple):
    """A model that the device serves."""

    name: str
    path: Path
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    features: int
    """How many the baseline has: a sample's values, or four statistics of each input."""


def digits(path: Path) -> Served:
    """The small CNN, 64 floats in."""
    return Served(MODEL, path, INPUTS, OUTPUTS, features=64)


def prepare_device(folder: Path, *models: Served) -> None:
    """Write what enrolment and a finished rollout of each model leave on a device."""
    contents = [model.path.read_bytes() for model in models]
    made = [(content, manifest_of(model, content)) for model, content in zip(models, contents, strict=True)]
    prepare_versions(folder, made)


def prepare_versions(folder: Path, versions: Sequence[tuple[bytes, VersionManifest]]) -> None:
    """Write what enrolment and finished rollouts of these files, with their manifests, leave on a device."""
    folder.mkdir()
    hub = TufRepository()
    _enrol(folder / "identity", hub)
    (folder / "blobs").mkdir()
    for content, manifest in versions:
        _add_version(folder, hub, content, manifest)
    _refresh_trust(folder / "trust" / "metadata", hub)


def _add_version(folder: Path, hub: TufRepository, content: bytes, manifest: VersionManifest) -> None:
    listed = manifest.to_bytes()
    hub.list_manifest(manifest.model, 1, listed)
    for data in (content, listed):
        (folder / "blobs" / sha256_hex(data)).write_bytes(data)
    ref = ArtifactRef(sha256=sha256_hex(listed), size_bytes=len(listed))
    variant = manifest.variants[0]
    wanted = DesiredModel(version=1, target=variant.target, manifest=ref, deployment="dp-benchmark")
    slot = slot_for(variant, wanted, (1, 1))
    SlotFile(folder / "models", manifest.model).put(Slots(active=slot.model_copy(update={"state": "good"})))


@contextmanager
def running_agent(
    folder: Path, *options: str, python: Path | None = None
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Run `shoal-agent run` on a free port; gives its process and port.

    Args:
        folder: Of the device's data.
        options: More of the command's.
        python: Of an environment that the agent is installed in; None: the code that this process imports runs.
    """
    run = ("-m", "shoal_agent", "run", "--data", str(folder), "--port", "0")
    command = [str(python or sys.executable), *run, *options]
    environ = {**os.environ, "PYTHONPATH": "" if python else os.pathsep.join(sys.path)}
    with (folder / "agent.log").open("wb") as log:
        process = subprocess.Popen([*command, "--runtime", "onnxruntime"], stderr=log, env=environ)
    try:
        yield process, _wait_for_port(folder, process)
    finally:
        process.terminate()
        process.wait(timeout=30)


def _wait_for_port(folder: Path, process: subprocess.Popen[bytes]) -> int:
    deadline_s = time.monotonic() + START_TIMEOUT_S
    path = folder / "run" / "endpoint.json"
    while not path.exists():
        if process.poll() is not None or time.monotonic() > deadline_s:
            msg = f"starting the agent: no endpoint came; its log says: {(folder / 'agent.log').read_text()[-500:]}"
            raise RuntimeError(msg)
        time.sleep(0.05)
    return int(str(json.loads(path.read_text())["url"]).rsplit(":", 1)[1])


def _refresh_trust(folder: Path, hub: TufRepository) -> None:
    """Leave the metadata that a device has: its agent then holds python-tuf in memory, as in the field."""
    settings, clock = TrustSettings(), Clock(None)
    client = TufClient(folder, "https://hub/", hub.trust_root, clock, settings)
    client.refresh(MemoryFetcher(hub, settings))


def _enrol(folder: Path, hub: TufRepository) -> None:
    key = load_or_make_key(folder)
    pem = _self_signed(key)
    response = EnrolmentResponse(
        device_id="d-" + "a" * 16,
        certificate_pem=pem,
        ca_pem=pem,
        broker_host="127.0.0.1",
        broker_port=1,  # nobody listens there
        trust_root=hub.trust_root.decode(),
    )
    save_identity(folder, response)


def _self_signed(key: ec.EllipticCurvePrivateKey) -> str:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "benchmark")])
    now = datetime.now(timezone.utc)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def manifest_of(served: Served, model: bytes) -> VersionManifest:
    """Return the manifest of a model's version 1, with what it answers to a golden input here."""
    golden = np.random.default_rng(1).random((1, *served.inputs[0].shape[1:]), dtype=np.float32)
    variant = Variant(
        target=TARGET,
        runtime="onnxruntime",
        format="onnx",
        precision="float32",
        sha256=sha256_hex(model),
        size_bytes=len(model),
        golden_outputs={"probabilities": to_tensor_data(np.zeros(0, dtype=np.float32))},
        golden_tolerance=1e-4,
    )
    engine = load_engine(served.path, variant, served.inputs, served.outputs)
    answer = engine.infer({"x": golden})["probabilities"]
    edges = tuple(n / 16 for n in range(1, 16))
    features = tuple(FeatureBaseline(name=f"pixel{n}", edges=edges, counts=(10,) * 16) for n in range(served.features))
    return VersionManifest(
        model=served.name,
        version=1,
        created_at=datetime.now(timezone.utc),
        inputs=served.inputs,
        outputs=served.outputs,
        golden_inputs={"x": to_tensor_data(golden)},
        variants=(variant.model_copy(update={"golden_outputs": {"probabilities": to_tensor_data(answer)}}),),
        baseline=Baseline(
            samples=160,
            features_of="statistics" if served.features == len(STATISTICS) else None,
            features=features,
            predictions=(16,) * 10,
            confidence=FeatureBaseline(name="confidence", edges=(0.5, 0.9), counts=(10, 50, 100)),
        ),
        provenance=Provenance(source_sha256="0" * 64, data_sha256="1" * 64),
    )
