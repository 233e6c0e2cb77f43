"""The parts of one device around an updater, on a retained source in memory; `restart` keeps what is on disk."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
from tests.agent.simulators.director import DEVICE, ref_of, wanted_of
from tests.agent.simulators.retained import RetainedTopics
from tests.fixtures import tiny

from shoal_agent.blobs import BlobStore
from shoal_agent.conditions import Conditions
from shoal_agent.encryption_key import load_or_make_encryption_key
from shoal_agent.engines import load_version
from shoal_agent.errors import HeldError
from shoal_agent.fetch import Fetcher
from shoal_agent.serving import ModelServer
from shoal_agent.settings import FetchSettings
from shoal_agent.slots import SlotFile
from shoal_agent.updater import Profile, Updater
from shoal_contract.artifact_ref import ArtifactRef
from shoal_contract.desired import DesiredModel
from shoal_contract.manifest import Variant, VersionManifest
from shoal_contract.telemetry import DeploymentEvent

TARGETS = ("generic-onnx-float32", "generic-litert-float32")


def file_of(number: int) -> bytes:
    """Return the tiny ONNX model's file, different for each version by its `doc_string` (field 6 of ModelProto)."""
    return (tiny.FILES / "classify.onnx").read_bytes() + bytes([0x32, 1, ord("0") + number])


def version(number: int, change: Callable[[Variant], Variant] = lambda variant: variant) -> VersionManifest:
    """Return the tiny model's manifest as version `number`, with its ONNX variant alone, changed."""
    manifest, ref = tiny.tiny_manifest(number), ref_of(file_of(number))
    own = manifest.variants[0].model_copy(update={"sha256": ref.sha256, "size_bytes": ref.size_bytes})
    return manifest.model_copy(update={"variants": (change(own),)})


class ListedManifests:
    """Implements the updater's `ManifestTrust`; counts how often it is asked."""

    def __init__(self, listed: set[str]) -> None:
        self.listed = listed
        self.asked = 0

    async def check_manifest(self, name: str, version: int, ref: ArtifactRef) -> None:
        self.asked += 1
        await anyio.lowlevel.checkpoint()
        if ref.sha256 not in self.listed:
            raise HeldError(f"checking the manifest of {name} version {version}: no trusted role lists it")


class Device:
    """An updater of the model `tiny`, its store, its server, and the steps that it told of."""

    def __init__(self, folder: Path, source: RetainedTopics | None = None, **settings: Any) -> None:
        self.folder = folder
        self.source = source or RetainedTopics()
        self.blobs = BlobStore(folder / "blobs")
        self.server = ModelServer()
        self.steps: list[DeploymentEvent] = []
        self.asked: list[str] = []
        self.trust = ListedManifests(self.source.listed)
        fetcher = Fetcher(self.source, self.blobs, self._ask, FetchSettings(silence_s=0.05))
        fields = {
            "targets": TARGETS,
            "runtimes": ("onnxruntime",),
            "boot_attempts": 3,
            "conditions": Conditions(),
            "cost_meter": None,
            "load_engine": load_version,
        } | settings
        self.updater = Updater(
            "tiny",
            SlotFile(folder / "models", "tiny"),
            self.blobs,
            fetcher,
            self.server,
            Profile(fields["targets"], fields["runtimes"]),
            self.trust,
            fields["boot_attempts"],
            load_or_make_encryption_key(folder / "identity", DEVICE),
            fields["conditions"],
            load_engine=fields["load_engine"],
            cost_meter=fields["cost_meter"],
        )

    async def _ask(self, sha256: str, _detail: str) -> None:
        self.asked.append(sha256)

    async def restart(self, **settings: Any) -> "Device":
        """Return the device as it is after a start, booted."""
        again = Device(self.folder, self.source, **settings)
        await again.updater.boot(again.steps.append)
        return again

    def publish(self, manifest: VersionManifest, deployment: str, *, file: bytes | None = None) -> DesiredModel:
        """Publish a version's manifest and file; return the section that asks for it."""
        self.trust.listed.add(ref_of(manifest.to_bytes()).sha256)
        self.source.publish(manifest.to_bytes())
        self.source.publish(file or file_of(manifest.version))
        return wanted_of(manifest, deployment)

    async def converge(self, wanted: DesiredModel, order: tuple[int, int] = (1, 1)) -> str | None:
        return await self.updater.converge(wanted, order, self.steps.append)

    @property
    def serves(self) -> int | None:
        served = self.server.get("tiny")
        return served.version if served else None

    @property
    def told(self) -> list[str]:
        return [event.step for event in self.steps]
