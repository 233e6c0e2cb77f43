"""The peer: a plain paho-mqtt subscriber that inserts each message by SQL, and checks no signature.

It reads what came, opens the envelopes without looking at the signatures, inserts a row for each message with a commit
a batch, and says so to the devices, whose next word waits for it.
"""

import base64
import json
import queue
import sqlite3
import ssl
import sys
from contextlib import suppress
from typing import Any

import paho.mqtt.client as paho
import psycopg
from backports import zstd
from paho.mqtt.enums import CallbackAPIVersion

BATCH = 500
INSERT = "INSERT INTO messages (device_id, kind, stream, sequence, body) VALUES (?, ?, ?, ?, ?)"
TABLE = (
    "CREATE TABLE messages (id INTEGER PRIMARY KEY, device_id TEXT, kind TEXT, stream TEXT, sequence BIGINT, body TEXT)"
)


def read(envelope: bytes) -> Any:  # noqa: ANN401 - JSON
    """Return what an envelope holds, in JSON or compact, whoever has signed it."""
    if envelope[:1] == b"{":
        return json.loads(base64.b64decode(json.loads(envelope)["payload"]))
    return json.loads(zstd.decompress(envelope[34 + envelope[33] :]))


def main() -> None:
    """Serve until killed; the arguments are the database, the port, and the files of TLS."""
    url, port, authority, certificate, key = sys.argv[1:]
    database: Any = sqlite3.connect(url) if "://" not in url else psycopg.connect(url)
    if "://" in url:
        database.execute(TABLE.replace("INTEGER PRIMARY KEY", "BIGSERIAL PRIMARY KEY"))
    else:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=NORMAL")
        database.execute(TABLE)
    database.commit()
    came: queue.SimpleQueue[paho.MQTTMessage] = queue.SimpleQueue()
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
    client.tls_set(authority, certificate, key, tls_version=ssl.PROTOCOL_TLS_CLIENT)
    client.on_message = lambda _client, _data, message: came.put(message)
    client.on_subscribe = lambda *_: print("ready", flush=True)
    client.on_connect = lambda client, *_: client.subscribe("shoal/1/device/+/up/#", 1)
    client.connect("127.0.0.1", int(port))
    client.loop_start()
    insert = INSERT if "://" not in url else INSERT.replace("?", "%s")
    while True:
        batch = [came.get()]
        with suppress(queue.Empty):
            while len(batch) < BATCH:
                batch.append(came.get_nowait())
        rows, acks = [], {}
        for message in batch:
            device_id = message.topic.split("/")[3]
            payload = read(bytes(message.payload))
            if "messages" not in payload:
                rows.append((device_id, "heartbeat", "", 0, json.dumps(payload)))
                continue
            place = payload["outbox"]
            for at, one in enumerate(payload["messages"]):
                rows.append((device_id, "window", place["stream"], place["sequence"] + at, json.dumps(one)))
            acks[device_id] = {"stream": place["stream"], "sequence": place["sequence"] + len(payload["messages"]) - 1}
        cursor = database.cursor()
        cursor.executemany(insert, rows)
        database.commit()
        for device_id, ack in acks.items():
            client.publish(f"shoal/1/device/{device_id}/down/ack", json.dumps({"schema_version": 1, **ack}))


if __name__ == "__main__":
    main()
