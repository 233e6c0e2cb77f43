"""Folds the sets that are assigned to one device into its section `features`. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from shoal_contract.features import MAX_DEFINITIONS, MAX_PIPELINES, DesiredFeatures
from shoal_contract.limits import MAX_FEATURES_BYTES
from shoal_hub.features.check import size_bytes


@dataclass(frozen=True)
class Merged:
    """What a device is told.

    Attributes:
        body: Of all sets that have room beside each other; None where nothing is to be computed.
        left_out: Sets that have none, and why.
    """

    body: DesiredFeatures | None
    left_out: Mapping[str, str]


def merge(sets: Mapping[str, DesiredFeatures]) -> Merged:
    """Fold sets in the order of their names; one that does not fit to those before it is left out as a whole."""
    body, left_out = DesiredFeatures(), dict[str, str]()
    owners: dict[str, str] = {}
    for name in sorted(sets):
        reason = _clash(body, sets[name], owners)
        if not reason:
            # Not built from the joined parts at once: more of them than a section takes would be an error.
            definitions = body.definitions | sets[name].definitions
            pipelines = body.pipelines | sets[name].pipelines
            joined = body.model_copy(update={"definitions": definitions, "pipelines": pipelines})
            reason = _excess(joined)
            if not reason:
                body = joined
                owners |= dict.fromkeys(_parts(sets[name]), name)
        if reason:
            left_out[name] = reason
    return Merged(body if body.pipelines else None, left_out)


def _parts(one: DesiredFeatures) -> list[str]:
    return [*(f"definition {name}" for name in one.definitions), *(f"pipeline {name}" for name in one.pipelines)]


def _clash(body: DesiredFeatures, other: DesiredFeatures, owners: Mapping[str, str]) -> str:
    for what, mine, its in (
        ("definition", body.definitions, other.definitions),
        ("pipeline", body.pipelines, other.pipelines),
    ):
        for name in sorted(mine.keys() & its.keys()):
            if mine[name] != its[name]:
                return f"its {what} {name} is another one than that of {owners[f'{what} {name}']}"
    return ""


def _excess(joined: DesiredFeatures) -> str:
    counts = (
        (len(joined.definitions), MAX_DEFINITIONS, "definitions"),
        (len(joined.pipelines), MAX_PIPELINES, "pipelines"),
    )
    for count, most, what in counts:
        if count > most:
            return f"with it there would be {count} {what}, a device has at most {most}"
    size = size_bytes(joined)
    if size > MAX_FEATURES_BYTES:
        return f"with it definitions and pipelines take {size} bytes, at most {MAX_FEATURES_BYTES} have room in a state"
    return ""
