"""The controller process, composed."""

from collections.abc import Callable, Sequence
from datetime import timedelta

from shoal_hub.addresses import Addresses
from shoal_hub.alerts.broker import AlertConnection
from shoal_hub.alerts.deliver import FIRST_RETRY_S, LONGEST_RETRY_S, Deliverer, Retry
from shoal_hub.alerts.evaluate import AlertEvaluator
from shoal_hub.alerts.prune import AlertPruner
from shoal_hub.alerts.telling import Timing
from shoal_hub.alerts.ways import ATTEMPT_S, Ways
from shoal_hub.audit.anchor import AnchorFile, AuditSigner
from shoal_hub.audit.webhook import Webhook
from shoal_hub.automation.chore import Automation
from shoal_hub.batch_inference.schedules import InferenceSchedules
from shoal_hub.batches.prune import AnswerPruner
from shoal_hub.benchmarks.chore import BenchmarkOffers
from shoal_hub.broker.cut_off import CutOff
from shoal_hub.broker.retained import clear_retained
from shoal_hub.captures.kept import CapturePruner
from shoal_hub.compression.follow import CompressionRuns
from shoal_hub.context import HubContext
from shoal_hub.controller.election import Election
from shoal_hub.controller.loop import Chore, Controller
from shoal_hub.controller.revocations import Revocations
from shoal_hub.database import Database
from shoal_hub.drift_history.prune import HistoryPruner
from shoal_hub.drift_history.retention import Retention
from shoal_hub.drift_history.roll_up import RollUp
from shoal_hub.events.changes import ChangeFeed
from shoal_hub.jobs.runner import JobRunner
from shoal_hub.monitoring.evidence import EvidenceWatch
from shoal_hub.processes.ready import mark_ready
from shoal_hub.processes.signals import stop_on_signals
from shoal_hub.registry.artifacts import ArtifactStore
from shoal_hub.settings import Settings
from shoal_hub.supervise.prepare import device_access, device_listener_host
from shoal_hub.tracing.export import start_tracing
from shoal_hub.tracing.remembered import TracePruner
from shoal_hub.tracing.spans import stop_tracing
from shoal_hub.training.ends import TrainingEnds
from shoal_hub.transfer.publishing import Transfers
from shoal_hub.trust.ca import DeviceAuthority
from shoal_hub.trust.director import Director
from shoal_hub.trust.hub_trust import HubTrust
from shoal_hub.trust.version_keys import VersionKeys


def build_controller(
    settings: Settings, database: Database, addresses: Addresses, send_anchor: Callable[[bytes], None]
) -> Controller:
    """Compose the controller; `database` tells the other processes what it commits."""
    trust = settings.data / "trust"
    signer = AuditSigner(
        database,
        trust,
        AnchorFile(settings.data),
        send_anchor,
        anchor_s=settings.audit_anchor_s,
        liveness_s=settings.audit_liveness_s,
    )
    artifacts = ArtifactStore(settings.artifacts)
    grace = timedelta(seconds=settings.withdraw_grace_s)
    director, version_keys, hub_trust = Director.open(trust), VersionKeys.open(trust), HubTrust.open(settings)
    hub = HubContext(
        settings,
        database,
        artifacts,
        DeviceAuthority.open(trust),
        director,  # the one that the controller has follow rotations
        version_keys,
        hub_trust,
        ChangeFeed(),
        lambda: (addresses.broker_host, addresses.broker_port),
        addresses.api_url,
    )
    controller = Controller(
        database,
        director,
        version_keys,
        hub_trust,
        Election(database, settings.data / "run" / "controller.lock"),
        Transfers(database, artifacts, grace, settings.retained_budget_bytes),
        JobRunner(database, settings),
        build_revocations(settings, database, addresses),
        addresses.endpoint(settings, "hub-controller"),
        signer,
        (
            EvidenceWatch(database),
            TracePruner(database, timedelta(seconds=settings.trace_life_s)),
            RollUp(database, settings),
            HistoryPruner(database, Retention.of(settings)),
            Automation(hub, settings.automation_every_s),
            InferenceSchedules(database, settings),
            *build_alerts(settings, database, addresses),
            CapturePruner(database, artifacts, timedelta(seconds=settings.captures_retention_s)),
            BenchmarkOffers(database),
            CompressionRuns(database),
            TrainingEnds(database),
            AnswerPruner(database, artifacts, timedelta(seconds=settings.batch_answers_retention_s)),
        ),
        tick_s=settings.tick_s,
        presence_grace=timedelta(seconds=settings.presence_grace_s),
        desired_life=timedelta(seconds=settings.desired_life_s),
        window_retention=timedelta(seconds=settings.window_retention_s),
        delta_wait=timedelta(seconds=settings.delta_wait_s),
        longest_rest_s=settings.longest_rest_s,
        longest_sweep_rest_s=settings.longest_sweep_rest_s,
    )
    database.on_commit = controller.wake
    return controller


def build_alerts(settings: Settings, database: Database, addresses: Addresses) -> Sequence[Chore]:
    """Compose what looks at alert rules, tells of alerts, and lets them go."""
    timing = Timing(settings.alerts_group_wait_s, settings.alerts_group_interval_s, settings.alerts_repeat_interval_s)
    ways = Ways(
        VersionKeys.open(settings.data / "trust"),
        settings.alerts_reach,
        AlertConnection(addresses.endpoint(settings, "hub-alerts")),
    )
    retry = Retry(FIRST_RETRY_S, LONGEST_RETRY_S, settings.alerts_give_up_after_s, ATTEMPT_S)
    return (
        AlertEvaluator(database, timing, settings.alerts_every_s),
        Deliverer(database, ways.send, retry),
        AlertPruner(database, timedelta(seconds=settings.alerts_retention_s)),
    )


def build_revocations(settings: Settings, database: Database, addresses: Addresses) -> Revocations:
    """Compose what makes the broker follow revocations."""
    trust = settings.data / "trust"
    sweep = addresses.endpoint(settings, "hub-sweep")

    def clear(filters: Sequence[str]) -> int:
        return clear_retained(sweep, filters)

    return Revocations(
        database,
        device_access(settings, addresses),
        CutOff(device_listener_host(settings), addresses.broker_port, DeviceAuthority.open(trust), trust),
        clear,
        tick_s=settings.tick_s,
    )


def run(settings: Settings) -> None:
    """Serve until the process is told to end."""
    start_tracing(settings, "controller")
    database = Database(settings.database)
    webhook = Webhook(settings.audit_webhook_url) if settings.audit_webhook_url else None
    send = webhook.send if webhook else _to_nobody
    controller = build_controller(settings, database, Addresses.read(settings), send)
    if webhook:
        webhook.start()
    stop_on_signals(controller.stop)
    controller.run(lambda: mark_ready(settings, "controller"))
    if webhook:
        webhook.stop()
    database.close()
    stop_tracing()


def _to_nobody(_signed: bytes) -> None:
    """Take the place of a webhook where none is set."""
