"""Words between the hub's processes: something was committed, look again. A lost word costs one slow tick."""

import json
from typing import Final, NamedTuple

from shoal_contract import topics
from shoal_hub.mqtt import Connection, MqttError

INGEST: Final = "ingest"
"""Who says what follows from devices' messages."""


class Wake(NamedTuple):
    """What changed, and who has said so: a name that the sender knows itself by, or none."""

    what: frozenset[str]
    by: str = ""


def wake(connection: Connection, what: frozenset[str], by: str = "") -> None:
    """Tell every process of the hub that `what` ("rollouts", "devices", …) changed."""
    payload = json.dumps({"what": sorted(what), "by": by}).encode()
    try:
        connection.publish(topics.HUB_WAKE, payload, qos=0)
    except MqttError:
        return  # no connection now: whoever waits for the word looks by itself within seconds


def read_wake(payload: bytes) -> Wake:
    """Return what changed; nothing where the message is not one of ours."""
    try:
        told = json.loads(payload)
        what, by = told["what"], told.get("by", "")
    except (ValueError, KeyError, TypeError, AttributeError):
        return Wake(frozenset())
    if not isinstance(what, list):
        return Wake(frozenset())
    return Wake(frozenset(word for word in what if isinstance(word, str)), by if isinstance(by, str) else "")
