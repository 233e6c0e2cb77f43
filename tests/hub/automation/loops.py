"""A fleet whose inputs drift, and the hands of everybody whom a run waits for: jobs, devices and people."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlmodel import Session, col, select
from tests.hub.automation.policies import body
from tests.hub.registry.bundles import record, register_bundle, write_bundle
from tests.simulators.reconcile import reconcile_rollouts
from tests.simulators.rows import add_device, apply_reported, make_report, section

from shoal_contract.reported import ModelReport, SlotReport
from shoal_hub.automation.chore import Automation
from shoal_hub.automation.policies import set_policy
from shoal_hub.automation.policy import Policy
from shoal_hub.automation.tables import AutomationRun, AutomationStep, DecisionRow, PolicyRow
from shoal_hub.context import HubContext
from shoal_hub.database import utc_now
from shoal_hub.federation.tables import FederatedRun
from shoal_hub.ids import new_id
from shoal_hub.jobs.queue import finish
from shoal_hub.jobs.tables import Job
from shoal_hub.monitoring.tables import DriftSignal
from shoal_hub.operators.roles import ALL_SCOPES, Principal, Role
from shoal_hub.operators.users import create_user
from shoal_hub.registry.artifacts import store_artifact
from shoal_hub.registry.tables import VariantRow, Version
from shoal_hub.rollouts.tables import Deployment

MODEL = "colours"
TARGET = "generic-onnx-int8"
GOOD = [{"source": "bundle", "form": "original", "samples": 200, "champion": 150, "candidate": 190}]
BAD = [{"source": "bundle", "form": "original", "samples": 200, "champion": 190, "candidate": 150}]


class Loop:
    """A hub with three devices that serve version 1 of a model, under a clock that the test has in hand."""

    def __init__(self, hub: HubContext, folder: Path) -> None:
        self.hub, self.folder, self.now = hub, folder, utc_now()
        self.passed_s = 0.0
        register_bundle(hub, with_trainer(folder / "one"))
        with hub.database.transaction() as session:
            self.author = principal(session, "ana")
            add_variant(session, hub, MODEL, 1, b"one")
            self.devices = [add_device(session, presence="online").id for _ in range(3)]
        self.sequence = 10
        self.report(1)
        self.automation = self.new_controller()

    def new_controller(self) -> Automation:
        """Return what a controller that has just started drives runs with."""
        return Automation(self.hub, 1.0, lambda: self.passed_s, lambda: 0.0)

    def set(self, **changes: Any) -> Policy:
        found = Policy.model_validate(body(model=MODEL, **changes))
        with self.hub.database.transaction() as session:
            set_policy(session, found, by=self.author, now=self.now)
        return found

    def step(self, after_s: float = 2.0) -> int:
        self.now += timedelta(seconds=after_s)
        self.passed_s += after_s
        return self.automation.step(self.now)

    def drift(self, *devices: str, rule: str = "plain", version: int = 1) -> str:
        """Raise a signal, and return its id."""
        signal = DriftSignal(
            id=new_id("ds"),
            model=MODEL,
            version=version,
            rule=rule,
            raised_at=self.now,
            updated_at=self.now,
            devices=sorted(devices or self.devices[:1]),
            samples=300,
            features=[{"name": "features[1]", "ks": 0.6, "psi": 1.2, "p_value": 0.0, "missing_ratio": 0.0}],
        )
        with self.hub.database.transaction() as session:
            session.add(signal)
        return signal.id

    def calm(self) -> None:
        """End every signal."""
        with self.hub.database.transaction() as session:
            for row in session.exec(select(DriftSignal).where(DriftSignal.state == "active")):
                row.state, row.cleared_at = "cleared", self.now
                session.add(row)

    def runs(self) -> list[AutomationRun]:
        with self.hub.database.session() as session:
            return list(session.exec(select(AutomationRun).order_by(col(AutomationRun.created_at))))

    def steps(self, run_id: str = "") -> list[AutomationStep]:
        wanted = select(AutomationStep).order_by(col(AutomationStep.position))
        with self.hub.database.session() as session:
            return list(session.exec(wanted.where(AutomationStep.run_id == (run_id or self.runs()[-1].id))))

    def states(self) -> list[tuple[str, str]]:
        """Return kind and state of each step of the last run."""
        return [(one.kind, one.state) for one in self.steps()]

    def decisions(self) -> list[DecisionRow]:
        with self.hub.database.session() as session:
            return list(session.exec(select(DecisionRow).order_by(col(DecisionRow.id))))

    def policy_row(self) -> PolicyRow:
        with self.hub.database.session() as session:
            return session.exec(select(PolicyRow)).one()

    def jobs(self, kind: str) -> list[Job]:
        with self.hub.database.session() as session:
            return list(session.exec(select(Job).where(Job.kind == kind).order_by(col(Job.created_at))))

    def federated(self) -> list[FederatedRun]:
        with self.hub.database.session() as session:
            return list(session.exec(select(FederatedRun).order_by(col(FederatedRun.created_at))))

    def end_federated(self, number: int = 2, *, state: str = "succeeded", reason: str = "") -> None:
        """Do what the job of the open federated run does at its end: register a version."""
        if state == "succeeded":
            register_bundle(self.hub, with_trainer(self.folder / f"made-{number}-{self.passed_s}", seed=number))
        with self.hub.database.transaction() as session:
            run = session.exec(select(FederatedRun).where(FederatedRun.state == "running")).one()
            run.state, run.ended_at, run.reason = state, self.now, reason  # type: ignore[assignment]
            run.history = [{"trained": 3, "round": place + 1} for place in range(run.rounds)]
            run.result_version = number if state == "succeeded" else None
            session.add(run)
            self._end_job(session, run.job_id, {"version": number} if state == "succeeded" else None, reason)

    def end_job(self, kind: str, result: dict[str, Any] | None = None, error: str = "") -> None:
        """Do what a job's process does at its end; one of `compress` leaves a variant."""
        [job] = [one for one in self.jobs(kind) if one.state in {"queued", "running"}]
        with self.hub.database.transaction() as session:
            if kind == "compress" and not error:
                version = session.get_one(Version, job.params["version_id"])
                add_variant(session, self.hub, version.model, version.number, f"made {version.number}".encode())
                result = {"targets": [TARGET], "original_bytes": 1, "original_accuracy": 1.0}
                result |= {"original_latency_p50_ms": 1.0}
            self._end_job(session, job.id, result, error)

    def _end_job(self, session: Session, job_id: str, result: dict[str, Any] | None, error: str) -> None:
        job = session.get_one(Job, job_id)
        job.state = "running"
        session.add(job)
        session.flush()
        assert finish(session, job_id, result=result, error=error)

    def report(self, version: int) -> None:
        """Have every device say that it serves a version, by the deployment that it was told."""
        self.sequence += 1
        with self.hub.database.transaction() as session:
            open_ones = select(Deployment).where(col(Deployment.state).in_(("assigned", "working", "succeeded")))
            told = {one.device_id: one.id for one in session.exec(open_ones.order_by(col(Deployment.assigned_at)))}
            for device_id in self.devices:
                serves = version if device_id in told or version == 1 else 1
                slot = SlotReport(version=serves, target=TARGET, sha256="0" * 64, state="good")
                sections = {f"models/{MODEL}": section("applied", told[device_id])} if device_id in told else {}
                answer = make_report(
                    sequence=self.sequence,
                    sections=sections,
                    models={MODEL: ModelReport(active=slot)},
                    datasets={MODEL: 40},
                )
                assert apply_reported(session, device_id, answer, self.now)

    def roll_on(self, version: int, turns: int = 6) -> None:
        """Have the open rollout go on as far as devices let it, which do as they are told."""
        for _ in range(turns):
            reconcile_rollouts(self.hub.database, self.now)
            self.report(version)


def with_trainer(folder: Path, seed: int = 0) -> Path:
    """Write a bundle that devices can train."""
    write_bundle(folder, seed=seed)
    (folder / "trainer.tflite").write_bytes(b"\x00\x00\x00\x00TFL3" + bytes(20))
    described = json.loads((folder / "bundle.json").read_text())
    described["files"]["trainer.tflite"] = record(folder / "trainer.tflite")
    (folder / "bundle.json").write_text(json.dumps(described))
    return folder


def add_variant(session: Session, hub: HubContext, model: str, number: int, data: bytes) -> None:
    """Add a variant for the devices' target, as a compression job does."""
    version = session.exec(select(Version).where(Version.model == model, Version.number == number)).one()
    one = {"datatype": "FP32", "shape": (1,), "data": "AACAPw=="}
    version.golden_inputs = {"features": one}
    stored = store_artifact(session, hub.artifacts, data)
    session.add(version)
    session.add(
        VariantRow(
            version_id=version.id,
            target=TARGET,
            runtime="onnxruntime",
            format="onnx",
            precision="int8",
            sha256=stored.sha256,
            size_bytes=stored.size_bytes,
            golden_outputs={"probabilities": one},
            golden_tolerance=0.1,
            report={"technique": "int8-qdq-onnx"},
            created_at=utc_now(),
        )
    )
    session.flush()


def principal(session: Session, name: str, role: Role = Role.OPERATOR) -> Principal:
    """Make a user, and return who asks in their name."""
    user = create_user(session, name, role, password=None, by="test", now=utc_now())
    return Principal(user.id, name, role, ALL_SCOPES, "session", "s", "", frozenset({user.id}))
