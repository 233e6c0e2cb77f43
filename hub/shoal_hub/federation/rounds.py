"""One round over the fleet: weights out as a leased artifact and an intent a device, updates back as blobs.

Everything is in the database, where controller and ingest do the talking; a round that was interrupted is found
there again.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save
from sqlmodel import Session, col, select

from shoal_contract.artifact_ref import ArtifactRef
from shoal_contract.desired import DesiredRound
from shoal_contract.limits import MAX_BLOB_BYTES
from shoal_hub.database import Database, announce, utc_now
from shoal_hub.devices.compose import FEDERATED
from shoal_hub.devices.intents import drop_intents, set_intent
from shoal_hub.devices.revocation import revoked_among
from shoal_hub.errors import ArtifactError, JobError
from shoal_hub.events.record import record_event
from shoal_hub.federation.close import owner_of, release
from shoal_hub.federation.tables import FederatedRun, RoundAnswer
from shoal_hub.registry.artifacts import ArtifactStore, store_artifact
from shoal_hub.registry.tables import Artifact
from shoal_hub.registry.versions import find_version
from shoal_hub.transfer.leases import drop_leases, take_leases
from shoal_hub.transfer.tables import Upload
from shoal_numerics import UpdateError, decode_update

Weights = list[NDArray[np.float32]]
POLL_S: Final = 0.2
LONGEST_POLL_S: Final = 2.0
"""Between two looks for answers, rising with the age of the round; a look is a few queries by primary key."""
UPDATE_SLACK_BYTES: Final = 64 * 1024
TRAINER: Final = "trainer.tflite"


@dataclass(frozen=True)
class Answer:
    """What one device contributed: its trained weights, float32, and how many examples they come from."""

    device_id: str
    weights: Weights
    examples: int
    loss_before: float
    loss_after: float
    update_bytes: int


class StoppedError(JobError):
    """An operator has stopped the run."""

    code = "stopped"


@dataclass(frozen=True)
class RoundExchange:
    """Plays the rounds of one run over the fleet."""

    database: Database
    store: ArtifactStore
    run: str
    now: Callable[[], datetime] = utc_now

    def play(self, number: int, weights: Weights, devices: Sequence[str]) -> list[Answer]:
        """Send a round out and return what came back before its deadline.

        Args:
            number: The round, from 1.
            weights: float32 tensors from which the devices start.
            devices: Who is asked.

        Raises:
            StoppedError: The run has been stopped.
        """
        started_s = time.monotonic()
        deadline_at = self._open(number, weights, devices)
        rows = self._wait(number, devices, deadline_at)
        answers = [answer for row in rows if (answer := self._read(row, weights)) is not None]
        self._close(number, devices, answers, time.monotonic() - started_s)
        return answers

    def end(self) -> None:
        """Take back whatever the run still wants of devices and broker."""
        with self.database.transaction() as session:
            release(session, self.run)

    @property
    def owner(self) -> str:
        """The run as an owner of intents and leases."""
        return owner_of(self.run)

    def _round_owner(self, number: int) -> str:
        return f"{self.owner}/{number}"

    def _open(self, number: int, weights: Weights, devices: Sequence[str]) -> datetime:
        with self.database.transaction() as session:
            run = self._row(session)
            deadline_at = self.now() + timedelta(seconds=run.deadline_s)
            stored = store_artifact(session, self.store, to_safetensors(weights))
            wanted = self._wanted(session, run, number, ArtifactRef(**stored._asdict()), deadline_at)
            take_leases(session, self.owner, [wanted.trainer.sha256], self.now())
            take_leases(session, self._round_owner(number), [stored.sha256], self.now())
            answered = {row.device_id for row in self._answers(session, number)}
            section = f"{FEDERATED}{self.run}"
            for device_id in set(run.devices) - set(devices):
                drop_intents(session, device_id, owner=self.owner)
            for device_id in set(devices) - answered - revoked_among(session, devices):
                set_intent(session, device_id, section, kind="default", owner=self.owner, body=wanted, now=self.now())
            message = f"round {number} of {run.rounds} of {self.run} opened for {len(devices)} devices"
            record_event(session, "round_opened", message, subject=self.owner)
            announce(session, "federated")
        return deadline_at

    def _wanted(
        self, session: Session, run: FederatedRun, number: int, weights: ArtifactRef, deadline_at: datetime
    ) -> DesiredRound:
        version = find_version(session, run.model, str(run.base_version))
        trainer = store_artifact(session, self.store, self.store.read(version.files[TRAINER]))
        return DesiredRound(
            run=run.id,
            round=number,
            dataset=run.dataset,
            trainer=ArtifactRef(**trainer._asdict()),
            weights=weights,
            epochs=run.epochs,
            batch_size=run.batch_size,
            learning_rate=run.learning_rate,
            seed=number,
            update_scheme="int8" if run.update_scheme == "int8" else "float32",
            max_update_bytes=min(MAX_BLOB_BYTES, weights.size_bytes + UPDATE_SLACK_BYTES),
            deadline_at=deadline_at,
        )

    def _wait(self, number: int, devices: Sequence[str], deadline_at: datetime) -> list[RoundAnswer]:
        """Wait until each device has answered and nothing more can come of its answer, or until the deadline.

        A device that is revoked is waited for no longer, and its answer does not count.
        """
        started_s = time.monotonic()
        while True:
            with self.database.session() as session:
                if self._row(session).state == "stopped":
                    raise StoppedError(f"run {self.run} was stopped in round {number}")
                asked = set(devices) - revoked_among(session, devices)
                answers = [row for row in self._answers(session, number) if row.device_id in asked]
                settled = [row for row in answers if _is_settled(session, row)]
            if {row.device_id for row in settled} >= asked or self.now() >= deadline_at:
                return settled
            time.sleep(min(LONGEST_POLL_S, max(POLL_S, (time.monotonic() - started_s) / 50)))

    def _read(self, row: RoundAnswer, base: Weights) -> Answer | None:
        """Decode one update; one that was refused, is malformed or poisoned is dropped with an event."""
        if row.outcome != "trained" or row.update_sha256 is None:
            return None
        try:
            data = self.store.read(row.update_sha256)
            weights = decode_update(data, base, row.update_bytes)
        except (ArtifactError, UpdateError) as error:
            with self.database.transaction() as session:
                message = f"the update of {row.device_id} in round {row.round} was dropped: {error}"
                record_event(
                    session,
                    "update_dropped",
                    message,
                    subject=self.owner,
                    device_id=row.device_id,
                    severity="warning",
                )
            return None
        return Answer(
            row.device_id,
            weights,
            max(row.examples, 1),
            row.loss_before or 0.0,
            row.loss_after or 0.0,
            len(data),
        )

    def _close(self, number: int, devices: Sequence[str], answers: list[Answer], duration_s: float) -> None:
        with self.database.transaction() as session:
            run = self._row(session)
            drop_leases(session, self._round_owner(number))
            run.history = [*run.history, _summary(number, devices, answers, duration_s)]
            session.add(run)
            announce(session, "federated")

    def _row(self, session: Session) -> FederatedRun:
        run = session.get(FederatedRun, self.run)
        if run is None:
            raise JobError(f"playing a round: there is no run {self.run}", "start one: shoal federated start")
        return run

    def _answers(self, session: Session, number: int) -> list[RoundAnswer]:
        wanted = select(RoundAnswer).where(RoundAnswer.run == self.run, RoundAnswer.round == number)
        return list(session.exec(wanted.order_by(col(RoundAnswer.device_id))))


def _is_settled(session: Session, row: RoundAnswer) -> bool:
    """Whether an answer's update is here, was refused, or is none: waiting longer brings nothing."""
    if row.update_sha256 is None or session.get(Artifact, row.update_sha256) is not None:
        return True
    upload = session.get(Upload, (row.update_sha256, row.device_id))
    return upload is not None and upload.state == "refused"


def to_safetensors(weights: Weights) -> bytes:
    """Return weights as a safetensors file, keys `000`, `001`, … in order."""
    data: bytes = save({f"{index:03d}": np.ascontiguousarray(tensor) for index, tensor in enumerate(weights)})
    return data


def from_safetensors(data: bytes) -> Weights:
    """Return the weights of `to_safetensors`."""
    tensors = load(data)
    return [tensors[key] for key in sorted(tensors)]


def _summary(number: int, devices: Sequence[str], answers: list[Answer], duration_s: float) -> dict[str, object]:
    total = sum(answer.examples for answer in answers) or 1
    return {
        "round": number,
        "asked": len(devices),
        "trained": len(answers),
        "examples": sum(answer.examples for answer in answers),
        "loss_before": sum(answer.loss_before * answer.examples for answer in answers) / total,
        "loss_after": sum(answer.loss_after * answer.examples for answer in answers) / total,
        "bytes_up": sum(answer.update_bytes for answer in answers),
        "duration_s": duration_s,
    }
