"""A fleet in rows: devices, windows, a rollout, jobs, an alert and drift, for tests of what is told of them."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from prometheus_client.parser import text_string_to_metric_families
from sqlmodel import Session
from tests.simulators.rows import add_device

from shoal_hub.alerts.tables import AlertRow
from shoal_hub.database import Database
from shoal_hub.devices.tables import DesiredRow
from shoal_hub.jobs.tables import Job
from shoal_hub.monitoring.tables import DriftSignal, WindowRow
from shoal_hub.registry.tables import Model
from shoal_hub.rollouts.tables import Deployment, Rollout

BINS = 14
"""Of a latency histogram."""
Numbers = dict[tuple[str, ...], float]


def numbers(text: str) -> Numbers:
    """Return the value of each series, by its name and the values of its labels in the order of their names."""
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    found = {(one.name, *(one.labels[name] for name in sorted(one.labels))): one.value for one in samples}
    assert len(found) == len(samples), "no two series are the same"
    return found


def add_window(
    session: Session,
    device_id: str,
    now: datetime,
    *,
    version: int = 1,
    requests: int = 10,
    errors: int = 0,
    labelled: int = 0,
    correct: int = 0,
    latency: Sequence[int] = (),
) -> None:
    session.add(
        WindowRow(
            device_id=device_id,
            model="digits",
            version=version,
            started_at=now - timedelta(minutes=1),
            ended_at=now,
            requests=requests,
            samples=requests,
            errors=errors,
            features=b"",
            missing=b"",
            predictions=[],
            confidence=[],
            latency=[*latency, *(0 for _ in range(BINS - len(latency)))],
            labelled=labelled,
            correct=correct,
            received_at=now,
        )
    )


def add_fleet(database: Database, now: datetime) -> list[str]:
    """Add some of everything; return the devices' ids."""
    with database.transaction() as session:
        online = [
            add_device(session, presence="online", reported={"agent_version": "0.2.0"}, reported_epoch=1).id
            for _ in range(3)
        ]
        offline = add_device(session, presence="offline", reported={"agent_version": "0.1.0"}).id
        never = add_device(session).id
        gone = add_device(session, presence="offline", revoked_at=now, reported={"agent_version": "0.1.0"}).id
        states = {
            "epoch": 1, "content_sha256": "", "envelope": b"", "issued_at": now, "expires_at": now, "conflicts": [],
        }  # fmt: skip
        session.add(DesiredRow(device_id=online[0], generation=7, **states))
        session.add(DesiredRow(device_id=offline, generation=7, **states))
        session.add(Model(name="digits", created_at=now))
        session.flush()
        add_window(session, online[0], now, requests=30, errors=3, labelled=4, correct=3, latency=(0, 20, 7))
        add_window(session, online[1], now, requests=10, labelled=4, correct=4, latency=(1,))
        add_window(session, online[1], now, version=2, requests=5)
        add_window(session, online[1], now - timedelta(hours=2), requests=1000, errors=1000)
        for rollout, ended_at in (("r-open", None), ("r-over", now)):
            session.add(
                Rollout(
                    id=rollout,
                    model="digits",
                    version=2,
                    manifest_sha256="",
                    manifest_size_bytes=1,
                    waves=[3],
                    state="succeeded" if ended_at else "running",
                    timeout_s=1,
                    created_by="ada",
                    created_at=now,
                    ended_at=ended_at,
                )
            )
            session.flush()
            for number, device_id in enumerate(online):
                state = "succeeded" if number == 0 else "working"
                session.add(Deployment(id=f"{rollout}-{number}", rollout_id=rollout, device_id=device_id, wave=0,
                                       state=state))  # fmt: skip
        for state in ("queued", "failed", "failed"):
            session.add(Job(id=f"j-{len(session.new)}-{state}", kind="delta", state=state, created_by="ada",
                            created_at=now - timedelta(minutes=2)))  # fmt: skip
        session.add(
            AlertRow(
                id="al-1", rule="r", key="k", state="firing", severity="critical", labels={}, message="", pending_at=now
            )
        )
        session.add(
            DriftSignal(
                id="s-1",
                model="digits",
                version=2,
                raised_at=now,
                updated_at=now,
                devices=online[:2],
                samples=9,
                features=[],
            )
        )
    return [*online, offline, never, gone]
