"""What a variant costs a device, in memory and time: measured on devices as they load it, or predicted from others.

A prediction goes by the hardware: the median over devices of the same kind that have loaded the very same file; where
there are too few of them, what compression measured when the file was made.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import median
from typing import Any, Final, Literal, Protocol

from sqlalchemy import String, bindparam, func
from sqlalchemy import select as select_columns
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, col, select

from shoal_contract.telemetry import VersionCost
from shoal_hub.bulk import Bulk, Query
from shoal_hub.database import as_texts, is_among
from shoal_hub.devices.tables import Device
from shoal_hub.registry.cost_tables import CostRow

Basis = Literal["same_hardware", "compression", "nothing"]
_MOST: Final = 501
"""Devices of one kind, those measured last, over which a median is taken."""
LEAST_MEASURED: Final = 3
"""Devices of one kind that have to have measured before it counts: a single one that lies is outvoted."""
_REVISION: Final = re.compile(r" Rev [0-9.]+$")


@dataclass(frozen=True)
class Prediction:
    """What a variant is going to cost a device.

    Attributes:
        latency_p50_ms: Of a request with one sample; None: nobody has measured it.
        memory_bytes: What the agent's process grows by; None: nobody has measured it.
        basis: What it goes by.
        devices: On how many devices of the same hardware it was measured.
    """

    latency_p50_ms: float | None = None
    memory_bytes: int | None = None
    basis: Basis = "nothing"
    devices: int = 0


class Made(Protocol):
    """A variant, or the columns of its row that a prediction needs."""

    @property
    def target(self) -> str:
        """The device class."""

    @property
    def sha256(self) -> str:
        """Of the plain file."""

    @property
    def latency_p50_ms(self) -> float | None:
        """As compression measured it."""

    @property
    def report(self) -> Mapping[str, Any]:
        """What compression reported."""


@dataclass(frozen=True)
class Costs:
    """What is known of the variants of one version.

    Attributes:
        files: The variants' files, by target.
        made: By target, what compression measured.
        measured: By file and class of hardware, what devices have.
    """

    files: Mapping[str, str]
    made: Mapping[str, Prediction]
    measured: Mapping[tuple[str, str], Prediction]

    def predict(self, target: str, hardware: str) -> Prediction:
        """Return what the variant for a target is going to cost a device of this class of hardware."""
        measured = self.measured.get((self.files.get(target, ""), hardware))
        return measured or self.made.get(target, Prediction())


def hardware_class(hardware: Mapping[str, Any] | None) -> str:
    """Return what devices on which a file costs the same have in common: board or processor, and architecture.

    A board's revision is left out. Empty for a device that has not said what it is.
    """
    if not hardware:
        return ""
    return f"{_REVISION.sub('', str(hardware.get('model', '')))} ({hardware.get('architecture', '')})"


def read_costs(session: Session, variants: Sequence[Made]) -> Costs:
    """Return what is known of these variants of one version.

    What revoked devices have measured does not count, nor what fewer than `LEAST_MEASURED` have.
    """
    files = {one.target: one.sha256 for one in variants}
    measured: dict[tuple[str, str], list[tuple[float, int, int]]] = {}
    rows = session.connection().execute(_measured(set(files.values())))
    for sha256, hardware, latency_ms, memory_bytes, devices in rows:
        measured.setdefault((sha256, hardware), []).append((latency_ms, memory_bytes, devices))
    made = {one.target: _of_compression(one) for one in variants}
    return Costs(files, made, {key: _median(of_kind) for key, of_kind in measured.items()})


def memory_of(report: Mapping[str, Any]) -> int | None:
    """Return the memory that compression measured; None where it did not."""
    found = report.get("memory_bytes")
    return found if isinstance(found, int) else None


def take_costs(session: Session, told: Sequence[tuple[str, VersionCost]], now: datetime) -> None:
    """Keep what devices have measured. Whether they were to load those files is not asked.

    Args:
        session: An open transaction.
        told: Device ids and costs, in the order in which they came.
        now: The clock.
    """
    latest = {(cost.sha256, device_id): cost for device_id, cost in told}
    hardware = _hardware_of(session, {device_id for _, device_id in latest})
    rows = [
        {
            "sha256": sha256,
            "device_id": device_id,
            "hardware": hardware[device_id],
            "latency_p50_ms": latest[sha256, device_id].latency_p50_ms,
            "memory_bytes": latest[sha256, device_id].memory_bytes,
            "measured_at": now,
        }
        for sha256, device_id in sorted(latest)
        if hardware.get(device_id)
    ]
    _KEEP[session.connection().dialect.name].execute(session, rows)


def _measured(files: Iterable[str]) -> Any:  # noqa: ANN401 - a statement over five columns
    """Return the statement of the last measurements of each class of hardware, with how many devices there are."""
    kind = (col(CostRow.sha256), col(CostRow.hardware))
    latest = (col(CostRow.measured_at).desc(), col(CostRow.device_id))
    of_files = col(CostRow.sha256).in_(sorted(files)), col(Device.revoked_at).is_(None)
    numbered: Any = (
        select_columns(
            *kind,
            col(CostRow.latency_p50_ms),
            col(CostRow.memory_bytes),
            func.count().over(partition_by=kind).label("devices"),
            func.row_number().over(partition_by=kind, order_by=latest).label("number"),
        )
        .join(Device, col(Device.id) == col(CostRow.device_id))
        .where(*of_files)
        .subquery()
    )
    names = ("sha256", "hardware", "latency_p50_ms", "memory_bytes", "devices")
    return select_columns(*(numbered.c[name] for name in names)).where(
        numbered.c.number <= _MOST, numbered.c.devices >= LEAST_MEASURED
    )


def _median(measured: Sequence[tuple[float, int, int]]) -> Prediction:
    return Prediction(
        latency_p50_ms=median(latency_ms for latency_ms, _, _ in measured),
        memory_bytes=round(median(memory_bytes for _, memory_bytes, _ in measured)),
        basis="same_hardware",
        devices=measured[0][2],
    )


def _of_compression(variant: Made) -> Prediction:
    memory_bytes = memory_of(variant.report)
    is_known = variant.latency_p50_ms is not None or memory_bytes is not None
    return Prediction(variant.latency_p50_ms, memory_bytes, "compression" if is_known else "nothing")


def _hardware_of(session: Session, device_ids: Iterable[str]) -> dict[str, str]:
    rows = _HARDWARE.rows(session, ids=as_texts(device_ids))
    return {device_id: hardware_class(hardware) for device_id, hardware in rows}


def _upsert(insert: Callable[[type[CostRow]], Any]) -> Bulk:
    keys, new = ("sha256", "device_id"), ("hardware", "latency_p50_ms", "memory_bytes", "measured_at")
    statement = insert(CostRow).values({name: bindparam(name) for name in (*keys, *new)})
    changes = {name: statement.excluded[name] for name in new}
    return Bulk(statement.on_conflict_do_update(index_elements=keys, set_=changes))


_KEEP: Final = {"postgresql": _upsert(postgresql.insert), "sqlite": _upsert(sqlite.insert)}
_HARDWARE: Final = Query(
    select(Device.id, Device.hardware).where(is_among(col(Device.id), bindparam("ids", type_=String())))
)
