"""Answers that were given before, for inputs that come again."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Final, NamedTuple, Protocol

from shoal_agent.engines import Array
from shoal_agent.serving.models import ServedModel

Outputs = Mapping[str, Array]
_ENTRY_BYTES: Final = 600
"""What an entry takes beside its arrays' elements: keys, dictionary, array objects."""
_KEY_BYTES: Final = 16


class CacheCounts(NamedTuple):
    """What became of look-ups, and what is kept."""

    hits: int
    misses: int
    entries: int
    held_bytes: int

    @property
    def hit_rate(self) -> float:
        """Share of look-ups that were hits, 0 to 1; 0 before the first."""
        asked = self.hits + self.misses
        return self.hits / asked if asked else 0.0


class AnswerCache(Protocol):
    """Keeps answers for inputs that come again; called from worker threads."""

    def key(self, served: ServedModel, inputs: Mapping[str, Array]) -> bytes:
        """Return what an answer to these inputs by this version is found by."""

    def get(self, key: bytes, served: ServedModel) -> Outputs | None:
        """Return a kept answer of this version, which is not to be changed; None where there is none any more."""

    def put(self, key: bytes, outputs: Outputs) -> None:
        """Keep an answer, if that is possible."""

    def counts(self) -> CacheCounts:
        """Return what became of look-ups, and what is kept."""


def answer_key(served: ServedModel, inputs: Mapping[str, Array]) -> bytes:
    """Return a hash of a version's manifest, its variant and the names, types, shapes and content of all inputs."""
    digest = blake2b(digest_size=_KEY_BYTES)
    digest.update(f"{served.manifest_sha256}/{served.target}".encode())
    for name in sorted(inputs):
        array = inputs[name]
        digest.update(f"/{name}{array.dtype}{array.shape}".encode())
        if array.dtype.kind == "O":
            for element in array.ravel():
                digest.update(len(element).to_bytes(4, "little") + element)
        else:
            digest.update(array.data)
    return digest.digest()


class _Entry(NamedTuple):
    outputs: Outputs
    size_bytes: int
    ends_s: float


class PredictionCache:
    """The last answers, by what was answered and by whom; safe for use by several threads.

    An entry is found by the version's manifest, its variant and the content of all inputs, so that another version, one
    on trial as well, never answers with what this one said. The longest unused go first.

    Args:
        most_bytes: What all entries take at most.
        ttl_s: How long an answer is good for.
        clock_s: Seconds that never go back.
    """

    def __init__(self, most_bytes: int, ttl_s: float = 3600.0, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._most_bytes = most_bytes
        self._ttl_s = ttl_s
        self._clock_s = clock_s
        self._lock = threading.Lock()
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()
        self._held_bytes = 0
        self._hits = self._misses = 0

    def key(self, served: ServedModel, inputs: Mapping[str, Array]) -> bytes:
        """Return what an answer to these inputs by this version is found by."""
        return answer_key(served, inputs)

    def get(self, key: bytes, served: ServedModel) -> Outputs | None:  # noqa: ARG002 - the key says it already
        """Return a kept answer, which is not to be changed; None where there is none any more."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None and entry.ends_s > self._clock_s():
                self._hits += 1
                self._entries.move_to_end(key)
                return entry.outputs
            self._misses += 1
            if entry is not None:
                self._forget(key)
            return None

    def put(self, key: bytes, outputs: Outputs) -> None:
        """Keep an answer, unless it is larger than all of the cache."""
        size_bytes = _ENTRY_BYTES + sum(map(_size, outputs.values()))
        if size_bytes > self._most_bytes:
            return
        with self._lock:
            if key in self._entries:
                self._forget(key)
            while self._held_bytes + size_bytes > self._most_bytes:
                self._forget(next(iter(self._entries)))
            self._entries[key] = _Entry(outputs, size_bytes, self._clock_s() + self._ttl_s)
            self._held_bytes += size_bytes

    def counts(self) -> CacheCounts:
        """Return what became of look-ups, and what is kept."""
        with self._lock:
            return CacheCounts(self._hits, self._misses, len(self._entries), self._held_bytes)

    def _forget(self, key: bytes) -> None:
        self._held_bytes -= self._entries.pop(key).size_bytes


def _size(array: Array) -> int:
    return sum(map(len, array.ravel())) if array.dtype.kind == "O" else array.nbytes
