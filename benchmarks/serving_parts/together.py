"""Several connections that ask at the same time, each for its next answer as soon as it has the last one."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from serving_parts.client import Connection


class Asked(NamedTuple):
    """What came of it."""

    requests_per_s: float
    answers: frozenset[str]
    """The different outputs that were answered, as JSON."""


def ask_together(port: int, path: str, body: bytes, connections: int, duration_s: float) -> Asked:
    """Ask over so many new connections for so long.

    Raises:
        RuntimeError: An answer is not 200.
    """
    with ThreadPoolExecutor(connections) as threads:
        started_s = time.perf_counter()
        end_s = started_s + duration_s
        found = list(threads.map(lambda _: _ask_until(port, path, body, end_s), range(connections)))
        lasted_s = time.perf_counter() - started_s
    return Asked(sum(count for count, _ in found) / lasted_s, frozenset().union(*(answers for _, answers in found)))


def _ask_until(port: int, path: str, body: bytes, end_s: float) -> tuple[int, frozenset[str]]:
    connection, count, answers = Connection(port, path, body), 0, set[str]()
    try:
        while time.perf_counter() < end_s:
            answers.add(json.dumps(json.loads(connection.ask())["outputs"][0]["data"]))
            count += 1
    finally:
        connection.close()
    return count, frozenset(answers)
