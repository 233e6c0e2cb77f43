"""Words between the hub's processes: something was committed, look again. A lost word costs one slow tick."""

import json

from shoal_contract import topics
from shoal_hub.mqtt import Connection, MqttError


def wake(connection: Connection, what: frozenset[str]) -> None:
    """Tell every process of the hub that `what` ("rollouts", "devices", …) changed."""
    payload = json.dumps({"what": sorted(what)}).encode()
    try:
        connection.publish(topics.HUB_WAKE, payload, qos=0)
    except MqttError:
        return  # no connection now: whoever waits for the word looks by itself within seconds


def read_wake(payload: bytes) -> frozenset[str]:
    """Return what changed; nothing where the message is not one of ours."""
    try:
        what = json.loads(payload)["what"]
    except (ValueError, KeyError, TypeError):
        return frozenset()
    return frozenset(word for word in what if isinstance(word, str)) if isinstance(what, list) else frozenset()
