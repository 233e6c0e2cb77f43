"""Memory for requests' bodies: bounded for all connections together, and laid out as tensors want it."""

from __future__ import annotations

from ctypes import addressof, c_char
from typing import Final

import numpy as np

from shoal_agent.endpoint.message import UNAVAILABLE, RequestError
from shoal_agent.late_numpy import is_numpy_loaded

_ALIGNMENT: Final = 64
"""Bytes; what runtimes that use a buffer in place ask for."""


class BodyBudget:
    """How many bytes of bodies are held by connections that are read or worked on."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self.held_bytes = 0

    def take(self, size_bytes: int) -> None:
        """Reserve memory.

        Raises:
            RequestError: Others hold too much of it.
        """
        if self.held_bytes + size_bytes > self._most_bytes:
            message = (
                f"{self.held_bytes} bytes of bodies are being read or worked on, at most {self._most_bytes} allowed"
            )
            raise RequestError(message, UNAVAILABLE, "send fewer or smaller requests at a time, or try again later")
        self.held_bytes += size_bytes

    def give_back(self, size_bytes: int) -> None:
        """Release what was reserved."""
        self.held_bytes -= size_bytes


def allocate(size_bytes: int, aligned_at: int) -> memoryview:
    """Return memory for a body that is not filled yet; zeroed where numpy, which need not zero it, is not loaded.

    Args:
        size_bytes: Its size.
        aligned_at: The position in the body that is to lie at a multiple of 64 bytes: where its first tensor begins.
    """
    if is_numpy_loaded():
        block = np.empty(size_bytes + _ALIGNMENT, dtype=np.uint8)
        start = -(block.ctypes.data + aligned_at) % _ALIGNMENT
        return block.data[start : start + size_bytes]
    plain = bytearray(size_bytes + _ALIGNMENT)
    start = -(addressof(c_char.from_buffer(plain)) + aligned_at) % _ALIGNMENT
    return memoryview(plain)[start : start + size_bytes]
