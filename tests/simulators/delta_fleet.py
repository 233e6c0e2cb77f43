"""A hub with devices as rows between whose versions there are deltas."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
from sqlmodel import select, update
from tests.simulators.reconcile import reconcile_rollouts
from tests.simulators.retained_topics import RetainedTopics
from tests.simulators.rows import NOON, add_device, add_version, apply_reported, make_report

from shoal_contract import topics
from shoal_contract.ids import sha256_hex
from shoal_contract.reported import ModelReport, SlotReport
from shoal_contract.transfer import TransferManifest
from shoal_hub.context import HubContext
from shoal_hub.database import utc_now
from shoal_hub.jobs.tables import Job
from shoal_hub.jobs.work import JobWork
from shoal_hub.registry.tables import VariantRow, Version
from shoal_hub.rollouts.start import start_rollout, starter_of
from shoal_hub.rollouts.tables import Deployment, Rollout
from shoal_hub.transfer.make_delta import run
from shoal_hub.transfer.publishing import Transfers
from shoal_hub.transfer.tables import Delta, Lease

TARGET = "generic-onnx-int8"
SIZE = 200_000
OWN_KEY = "9fd7ad6dcff4298dd3f96d5b1b2af910a0535b1488d7f8fabb349a982880b615"


def file_of(number: int, *, is_new: bool = False) -> bytes:
    """Return a file of which each version changes a hundredth; one that `is_new` has nothing of the others."""
    noise = bytearray(np.random.default_rng(number if is_new else 0).bytes(SIZE))
    noise[: SIZE // 100] = np.random.default_rng(number).bytes(SIZE // 100)
    return bytes(noise)


class Fleet:
    """A hub with devices as rows, whose jobs are done when a test says so."""

    def __init__(self, hub: HubContext, folder: Path, *, encrypted: tuple[int, ...] = (), count: int = 1) -> None:
        self.hub = hub
        self.broker = RetainedTopics()
        self.transfers = Transfers(hub.database, hub.artifacts, timedelta(seconds=30))
        self._folder, self._reports = folder, 0
        with hub.database.transaction() as session:
            self.ids = [add_device(session, name=f"device-{n}", encryption_key=OWN_KEY).id for n in range(count)]
            for number in (1, 2, 3):
                files = {TARGET: file_of(number)}
                add_version(session, hub.artifacts, number, files, is_encrypted=number in encrypted)
        for device_id in self.ids:
            self.report(device_id)
        self.roll_out(1)  # what devices run has been rolled out once
        self.end()

    def report(self, device_id: str, version: int | None = None, *, state: Any = "good", sha256: str = "") -> None:
        slot = None
        if version is not None:
            sha256 = sha256 or sha256_hex(file_of(version))
            slot = SlotReport(version=version, target=TARGET, sha256=sha256, state=state)
        models = {"digits": ModelReport(active=slot)} if slot else {}
        with self.hub.database.transaction() as session:
            self._reports += 1
            assert apply_reported(session, device_id, make_report(sequence=self._reports, models=models), NOON)

    def roll_out(self, version: int, **starter: Any) -> str:
        with self.hub.database.transaction() as session:
            bounds = replace(starter_of(self.hub), **starter)
            return start_rollout(session, bounds, model="digits", version=str(version), devices=self.ids, by="ada").id

    def end(self) -> None:
        """End every rollout and let go of its artifacts."""
        with self.hub.database.transaction() as session:
            for row in session.exec(select(Rollout)).all():
                row.state, row.ended_at = "succeeded", NOON
                session.add(row)
            for lease in session.exec(select(Lease)).all():
                session.delete(lease)
        self.publish()

    def do_jobs(self) -> None:
        """Do what is queued, as the runner's children would."""
        hub = self.hub
        with hub.database.session() as session:
            queued = session.exec(select(Job).where(Job.state == "queued")).all()
        for job in queued:
            self._move(job.id, "running")
            work = JobWork(job.id, job.params, "ada", self._folder, hub.settings, hub.database, hub.artifacts)
            try:
                run(work)
            except Exception:
                self._move(job.id, "failed")
                raise
            self._move(job.id, "succeeded")

    def publish(self, after_s: float = 0) -> None:
        while self.transfers.step(self.broker, NOON + timedelta(seconds=after_s)):
            pass

    def manifest_of(self, number: int) -> TransferManifest:
        payload = self.broker.retained[topics.artifact_manifest(self.travels(number))]
        return TransferManifest.model_validate_json(payload)

    def travels(self, number: int) -> str:
        with self.hub.database.session() as session:
            wanted = select(VariantRow).join(Version).where(Version.number == number, Version.model == "digits")
            row = session.exec(wanted).one()
        return row.encrypted_sha256 or row.sha256

    def deltas(self) -> list[Delta]:
        with self.hub.database.session() as session:
            return list(session.exec(select(Delta)).all())

    def states(self, seconds: float = 0) -> list[str]:
        """Take a step in each rollout and return the states of the newest one's deployments."""
        reconcile_rollouts(self.hub.database, utc_now() + timedelta(seconds=seconds))
        with self.hub.database.session() as session:
            newest = session.exec(select(Rollout).order_by(Rollout.created_at.desc())).first()  # type: ignore[attr-defined]
            assert newest is not None
            return [
                one.state for one in session.exec(select(Deployment).where(Deployment.rollout_id == newest.id)).all()
            ]

    def _move(self, job_id: str, state: str) -> None:
        with self.hub.database.transaction() as session:
            session.connection().execute(update(Job).where(Job.id == job_id).values(state=state))  # type: ignore[arg-type]


def fleet_on_version_1(hub: HubContext, folder: Path) -> Fleet:
    """Return a fleet of one device that runs version 1, all plain."""
    made = Fleet(hub, folder)
    made.report(made.ids[0], 1)
    return made
