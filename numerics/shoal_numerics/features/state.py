"""Windows as bytes, so that they go on where they were after a restart. Where the bytes are kept is the agent's."""

from __future__ import annotations

import hashlib
import io
import json
from typing import Final

import numpy as np

from shoal_contract.features import FeatureDefinition, SessionWindow
from shoal_numerics.errors import FeatureError
from shoal_numerics.features.panes import Panes
from shoal_numerics.features.plan import WindowPlan
from shoal_numerics.features.ring import Table
from shoal_numerics.features.sessions import SessionWindows
from shoal_numerics.features.windows import FeatureWindows

_HASH_BYTES: Final = 32


def begin_windows(definition: FeatureDefinition) -> FeatureWindows:
    """Return empty windows of a definition, of whatever kind they are.

    Raises:
        FeatureError: It cannot be computed, see `WindowPlan.of`.
    """
    is_session = isinstance(definition.window, SessionWindow)
    return SessionWindows(definition) if is_session else FeatureWindows(definition)


def dump_windows(windows: FeatureWindows) -> bytes:
    """Return the open windows of all entities; what was counted is not among it."""
    entities = windows.entities
    live = entities.live()
    table = windows.ring.read(live)
    arrays = {f"pane_{name}": column for name, column in table.panes._asdict().items()}
    arrays["pane_slot"] = np.searchsorted(live, table.panes.slot)
    file = io.BytesIO()
    np.savez(
        file,
        allow_pickle=False,
        plan=_as_array(_fingerprint(windows.plan)),
        names=_as_array([entities.names[slot] for slot in live.tolist()]),
        front=entities.front[live],
        closed=entities.closed[live],
        seen=entities.seen[live],
        number=np.array(windows.number),
        samples=table.samples,
        **arrays,
    )
    data = file.getvalue()
    return hashlib.sha256(data).digest() + data


def load_windows(definition: FeatureDefinition, data: bytes) -> FeatureWindows:
    """Return windows that go on where `dump_windows` left them.

    Args:
        definition: What is computed. Features may be others than then, if windows and fields are the same.
        data: What `dump_windows` gave.

    Raises:
        FeatureError: The bytes are damaged, or of other windows, fields or bounds.
    """
    doing = "Loading the state of windows"
    windows = begin_windows(definition)
    body = data[_HASH_BYTES:]
    if hashlib.sha256(body).digest() != data[:_HASH_BYTES]:
        message = f"{doing}: {len(data)} bytes do not have the hash that stands before them. Begin with empty windows."
        raise FeatureError(message)
    with np.load(io.BytesIO(body), allow_pickle=False) as arrays:
        found, expected = json.loads(arrays["plan"].tobytes()), _fingerprint(windows.plan)
        if found != expected:
            message = f"{doing}: {found} found, expected {expected}. Begin with empty windows."
            raise FeatureError(message)
        names = json.loads(arrays["names"].tobytes())
        for _ in windows.entities.admitted(names):
            windows.ring.grow(len(windows.entities.names))
        slots = windows.entities.slots_of(names)
        windows.entities.front[slots] = arrays["front"]
        windows.entities.closed[slots] = arrays["closed"]
        windows.entities.seen[slots] = arrays["seen"]
        windows.number = int(arrays["number"])
        panes = Panes(**{name: arrays[f"pane_{name}"] for name in Panes._fields})
        windows.ring.write(slots, Table(panes._replace(slot=slots[panes.slot]), arrays["samples"]))
    return windows


def _fingerprint(plan: WindowPlan) -> dict[str, object]:
    # What stands only where it is true keeps the states of earlier releases good.
    return {
        **({"is_session": True} if plan.is_session else {}),
        "is_count": plan.is_count,
        "pane": plan.pane,
        "panes": plan.panes,
        "lateness": plan.lateness,
        "fields": list(plan.fields),
        "samples": plan.samples,
        "max_entities": plan.max_entities,
    }


def _as_array(value: object) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    return np.frombuffer(json.dumps(value).encode(), dtype=np.uint8)
