"""The controller process, composed."""

from datetime import timedelta

from shoal_hub.addresses import Addresses
from shoal_hub.controller.election import Election
from shoal_hub.controller.loop import Controller
from shoal_hub.database import Database
from shoal_hub.jobs.runner import JobRunner
from shoal_hub.processes.ready import mark_ready
from shoal_hub.processes.signals import stop_on_signals
from shoal_hub.registry.artifacts import ArtifactStore
from shoal_hub.settings import Settings
from shoal_hub.transfer.publishing import Transfers
from shoal_hub.trust.director import Director
from shoal_hub.trust.hub_trust import HubTrust


def build_controller(settings: Settings, database: Database, addresses: Addresses) -> Controller:
    """Compose the controller; `database` tells the other processes what it commits."""
    grace = timedelta(seconds=settings.withdraw_grace_s)
    controller = Controller(
        database,
        Director.open(settings.data / "trust"),
        HubTrust.open(settings),
        Election(database, settings.data / "run" / "controller.lock"),
        Transfers(database, ArtifactStore(settings.artifacts), grace),
        JobRunner(database, settings),
        addresses.endpoint(settings, "hub-controller"),
        tick_s=settings.tick_s,
        desired_life=timedelta(seconds=settings.desired_life_s),
    )
    database.on_commit = controller.wake
    return controller


def run(settings: Settings) -> None:
    """Serve until the process is told to end."""
    database = Database(settings.database)
    controller = build_controller(settings, database, Addresses.read(settings))
    stop_on_signals(controller.stop)
    controller.run(lambda: mark_ready(settings, "controller"))
    database.close()
