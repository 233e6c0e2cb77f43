"""Asks the model `digits` in all the ways there are, as fast as it answers. Usage: client.py PORT SECONDS SEED."""

import http.client
import json
import random
import struct
import sys
import time
from collections import Counter

PATH = "/v2/models/digits/infer"
RECONNECT_EVERY = 200
OK, CLIENT_ERRORS = 200, range(400, 500)


def main() -> None:
    """Ask until the time is over, and print what came of it."""
    port, seconds, seed = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
    chance, counts = random.Random(seed), Counter(answered=0, refused=0, failed=0)  # noqa: S311 - data
    end_s, asked = time.monotonic() + seconds, 0
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    while time.monotonic() < end_s:
        body, headers, expected = chance.choice((good_json, good_binary, bad))(chance)
        try:
            connection.request("POST", PATH, body, headers)
            response = connection.getresponse()
            response.read()
            counts[kind_of(response.status, expected)] += 1
        except (OSError, http.client.HTTPException):
            counts["failed"] += 1
            connection.close()
        asked += 1
        if asked % RECONNECT_EVERY == 0:
            connection.close()
    print(json.dumps(counts))


def kind_of(status: int, expected: str) -> str:
    """Return what became of a request; `failed` where it is not what was expected."""
    found = "answered" if status == OK else "refused" if status in CLIENT_ERRORS else "failed"
    return found if found == expected else "failed"


def good_json(chance: random.Random) -> tuple[bytes, dict[str, str], str]:
    """Return a request as JSON of one to eight samples."""
    rows = chance.randint(1, 8)
    data = [chance.random() for _ in range(64 * rows)]
    tensor = {"name": "x", "datatype": "FP32", "shape": [rows, 1, 8, 8], "data": data}
    return json.dumps({"inputs": [tensor]}).encode(), {}, "answered"


def good_binary(chance: random.Random) -> tuple[bytes, dict[str, str], str]:
    """Return a request as binary data of one to two hundred samples."""
    rows = chance.choice((1, 3, 17, 200))
    data = struct.pack("<64f", *(chance.random() for _ in range(64))) * rows
    size = {"binary_data_size": len(data)}
    tensor = {"name": "x", "datatype": "FP32", "shape": [rows, 1, 8, 8], "parameters": size}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    return head + data, {"Inference-Header-Content-Length": str(len(head))}, "answered"


def bad(chance: random.Random) -> tuple[bytes, dict[str, str], str]:
    """Return a request that is none, or not for this model."""
    if chance.choice((True, False)):
        return chance.randbytes(chance.randint(0, 2000)), {}, "refused"
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 1, 8, 8], "data": [0.0] * chance.randint(1, 63)}
    return json.dumps({"inputs": [tensor]}).encode(), {}, "refused"


if __name__ == "__main__":
    main()
