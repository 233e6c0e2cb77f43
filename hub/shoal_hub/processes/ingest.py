"""The ingest process, composed: who does what with each kind of message."""

from shoal_contract.batch_jobs import BatchResult
from shoal_contract.benchmarks import BenchmarkResult
from shoal_contract.telemetry import (
    BlobOffer,
    DeploymentEvent,
    EncryptionKeyReplaced,
    MissingArtifact,
    RoundResult,
    ShadowWindow,
    Window,
)
from shoal_hub.addresses import Addresses
from shoal_hub.batches.collect import batch_purpose, take_batch_result
from shoal_hub.benchmarks.collect import take_benchmark_result
from shoal_hub.captures.intake import CaptureIntake
from shoal_hub.database import Database
from shoal_hub.devices.wrapped_keys import take_encryption_key
from shoal_hub.federation.answers import refusal_of, take_result
from shoal_hub.ingest.commit import Committer
from shoal_hub.ingest.group import read_shared_group
from shoal_hub.ingest.handlers import Handlers
from shoal_hub.ingest.worker import Endpoints, IngestWorker
from shoal_hub.monitoring.windows import take_windows
from shoal_hub.processes.ready import mark_ready
from shoal_hub.processes.signals import stop_on_signals
from shoal_hub.registry.artifacts import ArtifactStore
from shoal_hub.rollouts.progress import note_steps
from shoal_hub.settings import Settings
from shoal_hub.tracing.export import start_tracing
from shoal_hub.tracing.spans import stop_tracing
from shoal_hub.transfer.needs import take_missing
from shoal_hub.transfer.purposes import artifact_purpose
from shoal_hub.transfer.quota import Quota
from shoal_hub.transfer.uploads import Uploads
from shoal_hub.trials.shadow import take_shadow_window


def build_ingest(settings: Settings, database: Database, addresses: Addresses) -> IngestWorker:
    """Compose the worker; `database` tells the other processes what it commits."""
    store = ArtifactStore(settings.artifacts)
    captures = CaptureIntake(store, settings.captures_max_bytes)
    purposes = {
        "federated_update": artifact_purpose(store, refusal_of),
        "capture": captures.purpose,
        "batch_result": batch_purpose(store, settings.batch_answers_max_bytes),
    }
    uploads = Uploads(database, settings.data / "uploads", purposes, Quota.of(settings))
    handlers = Handlers()
    handlers.on_many(DeploymentEvent, note_steps)
    handlers.on(MissingArtifact, take_missing)
    handlers.on(BlobOffer, uploads.offer)
    handlers.on(RoundResult, take_result)
    handlers.on(BatchResult, take_batch_result)
    handlers.on(BenchmarkResult, take_benchmark_result)
    handlers.on_many(Window, take_windows)
    handlers.on(ShadowWindow, take_shadow_window)
    handlers.on(EncryptionKeyReplaced, take_encryption_key)
    endpoints = Endpoints(
        control=addresses.endpoint(settings, "hub-ingest-control"),
        telemetry=addresses.endpoint(settings, "hub-ingest-telemetry"),
        blobs=addresses.endpoint(settings, "hub-ingest-blobs"),
    )
    worker = IngestWorker(
        database,
        Committer(database, handlers),
        uploads,
        endpoints,
        read_shared_group(settings.data),
        messages_per_s=settings.device_messages_per_s,
    )
    database.on_commit = worker.wake
    return worker


def run(settings: Settings) -> None:
    """Serve until the process is told to end."""
    start_tracing(settings, "ingest")
    database = Database(settings.database)
    worker = build_ingest(settings, database, Addresses.read(settings))
    stop_on_signals(worker.stop)
    worker.run(lambda: mark_ready(settings, "ingest"))
    database.close()
    stop_tracing()
