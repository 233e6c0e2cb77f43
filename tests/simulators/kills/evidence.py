"""What is true after a round, from four witnesses: the hub's tables, its API, the broker, and the devices' disks."""

import base64
import json
import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tests.simulators.broker import listening

from shoal_agent.simulated.journal import Change, made, read_changes
from shoal_agent.slots import SlotFile, Slots, known_models
from shoal_contract import topics
from shoal_hub.addresses import Addresses
from shoal_hub.mqtt import Message
from shoal_hub.settings import Settings

_WAIT_S = 30.0
_MARK = f"{topics.ROOT}/hub/kills-mark"
"""Comes back after all that was retained when it was published."""


class RolloutRow(NamedTuple):
    """A rollout, as the hub's table has it."""

    model: str
    version: int
    state: str


class DeploymentRow(NamedTuple):
    """One device's attempt, as the hub's table has it."""

    id: str
    rollout: str
    device: str
    state: str
    target: str
    from_version: int | None
    rollback: str | None
    problem: str


class Wanted(NamedTuple):
    """A device's desired state, as the hub's table has it; models by (version, deployment)."""

    order: tuple[int, int]
    models: dict[str, tuple[int, str]]
    envelope: bytes


class Told(NamedTuple):
    """What a device has reported, as the hub's table has it."""

    order: tuple[int, int]
    active: dict[str, int]
    unsettled: list[str]


@dataclass(frozen=True)
class DiskFacts:
    """What a device's disk says: the roles of its models, and all that was ever made of them."""

    roles: dict[str, Slots]
    changes: list[Change]

    @classmethod
    def read(cls, models: Path, journal: Path) -> "DiskFacts":
        """Read a disk that nothing is changing."""
        roles = {name: SlotFile(models, name).slots for name in known_models(models)}
        return cls(roles, made(read_changes(journal), roles))

    @property
    def activated(self) -> Counter[str]:
        """How often each deployment was made active."""
        return Counter(one.activation.deployment for one in self.changes if one.activation is not None)

    @property
    def active(self) -> dict[str, int]:
        """The good versions that are active, by model."""
        active = {name: slots.active for name, slots in self.roles.items()}
        return {name: slot.version for name, slot in active.items() if slot is not None and slot.state == "good"}


@dataclass(frozen=True)
class Tables:
    """What the hub's database says."""

    rollouts: dict[str, RolloutRow] = field(default_factory=dict)
    deployments: list[DeploymentRow] = field(default_factory=list)
    wanted: dict[str, Wanted] = field(default_factory=dict)
    told: dict[str, Told] = field(default_factory=dict)
    stale: int = 0
    events: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Of rollouts and of devices' steps, how often each was noted, as (what, of what)."""


@dataclass(frozen=True)
class Evidence:
    """All witnesses together."""

    tables: Tables
    disks: dict[str, DiskFacts]
    retained: dict[str, bytes]
    counts: dict[str, dict[str, int]]
    """Of each rollout, its deployments by state, as the API says."""
    serving: Counter[str]
    """Devices by what answers on them, as `model/version`."""


def read_tables(data: Path) -> Tables:
    """Read the hub's database, in one transaction and without a lock that anybody waits for."""
    with closing(sqlite3.connect(f"file:{data / 'hub.sqlite'}?mode=ro", uri=True)) as database:
        database.execute("BEGIN")
        rows = database.execute("SELECT id, model, version, state FROM rollouts").fetchall()
        return Tables(
            rollouts={row[0]: RolloutRow._make(row[1:]) for row in rows},
            deployments=_deployments(database),
            wanted=_wanted(database),
            told=_told(database),
            stale=database.execute("SELECT count(*) FROM stale_desired_states").fetchone()[0],
            events=_events(database),
        )


def read_retained(data: Path) -> dict[str, bytes]:
    """Return the desired states that the broker keeps, by device."""
    settings, found = Settings(data_dir=data), dict[str, bytes]()
    endpoint = Addresses.read(settings).endpoint(settings, "hub-eye")
    with listening(endpoint, f"{topics.ROOT}/device/+/down/desired", _MARK) as ears:
        ears.connection.publish(_MARK, b"-", qos=1, retain=False).result(_WAIT_S)
        while (message := ears.wait_for(Message, _WAIT_S)).topic != _MARK:
            if message.is_retained and message.payload:
                found[message.topic.split("/")[3]] = message.payload
    return found


def add_up(active: Sequence[Mapping[str, int]]) -> Counter[str]:
    """Return how many devices have each version, as `model/version`."""
    return Counter(f"{model}/{version}" for one in active for model, version in one.items())


def _deployments(database: sqlite3.Connection) -> list[DeploymentRow]:
    rows = database.execute(
        "SELECT id, rollout_id, device_id, state, target, from_version, rollback_id, problem FROM deployments"
    ).fetchall()
    return [DeploymentRow._make((*row[:-1], json.loads(row[-1])["code"] if row[-1] else "")) for row in rows]


def _wanted(database: sqlite3.Connection) -> dict[str, Wanted]:
    rows = database.execute("SELECT device_id, epoch, generation, envelope FROM desired_states").fetchall()
    return {device: Wanted((epoch, generation), _models(bytes(sealed)), bytes(sealed))
            for device, epoch, generation, sealed in rows}  # fmt: skip


def _models(envelope: bytes) -> dict[str, tuple[int, str]]:
    state = json.loads(base64.b64decode(json.loads(envelope)["payload"]))
    return {name: (model["version"], model["deployment"]) for name, model in state["models"].items()}


def _told(database: sqlite3.Connection) -> dict[str, Told]:
    rows = database.execute("SELECT id, reported_epoch, reported_generation, reported FROM devices").fetchall()
    return {device: _report((epoch, generation), json.loads(said) if said else {})
            for device, epoch, generation, said in rows}  # fmt: skip


def _report(order: tuple[int, int], reported: dict[str, Any]) -> Told:
    active = {name: roles.get("active") for name, roles in reported.get("models", {}).items()}
    good = {name: slot["version"] for name, slot in active.items() if slot and slot["state"] == "good"}
    sections = reported.get("sections", {}).items()
    return Told(order, good, [f"{name} {one['state']}" for name, one in sections if one["state"] == "working"])


def _events(database: sqlite3.Connection) -> Counter[tuple[str, str]]:
    found: Counter[tuple[str, str]] = Counter()
    for kind, subject, body in database.execute("SELECT kind, subject, body FROM events").fetchall():
        if kind.startswith("rollout_"):
            found[kind, subject] += 1
        elif kind == "deployment":
            said = json.loads(body)
            found[said["step"], said["deployment"]] += 1
    return found
