"""Clicks of shoppers, the worked example of the guide: sessions, how long ago the last event was, a mean of 7 days."""

import json
from typing import Any

import numpy as np

from shoal_numerics.features.events import Arrival
from shoal_training.feature_store.definition import StreamDefinition

S = 1_000_000_000
HOUR_S, DAY_S = 3600, 86_400
START_S = 1_772_323_200
"""2026-03-01, at the full day."""
DEFINITIONS: dict[str, Any] = {
    "session": {
        "window": {"kind": "session", "gap_ms": 1_800_000, "lateness_ms": 600_000},
        "features": {"count": {"aggregate": "events", "ttl_s": 30 * DAY_S, "fallback": 0}},
    },
    "recency": {
        "window": {"kind": "time", "size_ms": DAY_S * 1000, "every_ms": 300_000, "lateness_ms": 600_000},
        "features": {"since_last_s": {"aggregate": "since_last", "ttl_s": DAY_S}},
    },
    "week": {
        "window": {"kind": "time", "size_ms": 7 * DAY_S * 1000, "every_ms": HOUR_S * 1000, "lateness_ms": 600_000},
        "features": {"amount_mean": {"aggregate": "mean", "field": "amount", "ttl_s": 7 * DAY_S, "fallback": 0}},
    },
    "last_five": {
        "window": {"kind": "count", "size": 5, "every": 1},
        "features": {"amount_max": {"aggregate": "max", "field": "amount"}},
    },
}


def stream(**changes: Any) -> StreamDefinition:
    said: dict[str, Any] = {
        "name": "clicks",
        "events": {"kind": "mqtt", "topic": "shop/+/clicks", "entity_level": 1},
        "form": {"time_field": "t"},
        "definitions": DEFINITIONS,
        "keep_days": 3660,
    }
    return StreamDefinition.model_validate(said | changes)


def click(entity: str, at_s: float, amount: float, came_s: float | None = None) -> Arrival:
    data = json.dumps({"t": at_s, "amount": amount}).encode()
    return Arrival(data, int((at_s if came_s is None else came_s) * S), entity)


def clicks(count: int = 400, *, disorder_s: float = 600, days: float = 10, seed: int = 0) -> list[Arrival]:
    """Clicks of three shoppers over some days; each is at most `disorder_s` behind the latest one."""
    random = np.random.default_rng(seed)
    came_s = np.sort(random.uniform(0, days * DAY_S, count)) + START_S
    at_s = np.round(came_s - random.uniform(0, disorder_s, count) * (random.random(count) < 0.5), 3)
    names = random.choice(["ann", "bob", "cy"], count)
    return [
        click(str(name), float(at), float(n % 97), float(came))
        for n, (name, at, came) in enumerate(zip(names, at_s, came_s, strict=True))
    ]
