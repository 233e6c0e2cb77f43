"""Clears retained messages whose topics nobody keeps a list of: those of a device that is gone, and strays."""

import queue
import secrets
import time
from collections.abc import Sequence
from typing import Final

from shoal_contract import topics
from shoal_hub.mqtt import Connected, Connection, Disconnected, Endpoint, Event, Message, MqttError, Subscription
from shoal_hub.wake import read_wake, wake

_TIMEOUT_S: Final = 30.0
_PASSES: Final = 100
"""The broker sends at most its queue's bound in one pass; a memory full of strays takes several."""


def clear_retained(endpoint: Endpoint, filters: Sequence[str]) -> int:
    """Clear every retained message that matches a filter; return how many there were.

    Raises:
        MqttError: The connection went, or something was there again after every pass.
    """
    cleared = 0
    for _ in range(_PASSES):
        found = _clear_once(endpoint, filters)
        if not found:
            return cleared
        cleared += found
    raise MqttError(f"clearing {', '.join(filters)}: after {_PASSES} passes there is still something", "try later")


def _clear_once(endpoint: Endpoint, filters: Sequence[str]) -> int:
    events: queue.SimpleQueue[Event] = queue.SimpleQueue()
    subscriptions = [Subscription(one, qos=0) for one in (*filters, topics.HUB_WAKE)]
    connection = Connection(endpoint, subscriptions, events)
    connection.start()
    try:
        found = _retained_topics(connection, events)
        for future in [connection.publish(topic, b"", retain=True) for topic in found]:
            future.result(_TIMEOUT_S)
    except TimeoutError as error:
        raise MqttError("clearing retained messages: the broker does not answer", "it is tried again") from error
    finally:
        connection.stop()
    return len(found)


def _retained_topics(connection: Connection, events: "queue.SimpleQueue[Event]") -> list[str]:
    """Return what the subscriptions brought: all of it comes before a word that this connection sends to itself."""
    found: dict[str, None] = {}
    mark = f"probe-{secrets.token_hex(8)}"
    deadline_s = time.monotonic() + _TIMEOUT_S
    while (left_s := deadline_s - time.monotonic()) > 0:
        try:
            event = events.get(timeout=left_s)
        except queue.Empty:
            break
        match event:
            case Connected():
                wake(connection, frozenset({mark}))
            case Disconnected(reason):
                raise MqttError(f"looking for retained messages: {reason}", "it is tried again")
            case Message(topic, payload) if topic == topics.HUB_WAKE:
                if mark in read_wake(payload).what:
                    return list(found)
            case Message(topic, payload, is_retained) if is_retained and payload:
                found[topic] = None
    raise MqttError(f"looking for retained messages: no end of them within {_TIMEOUT_S:g} s", "it is tried again")
