"""Every bound of the serving path, with its unit."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ServingSettings:
    """Bounds that keep a small machine responsive and its memory in hand."""

    max_body_bytes: int = 4 * 1024 * 1024
    """A larger request is refused with 413 while it is being read."""
    body_timeout_s: float = 10.0
    """A client that has not sent its whole request by then gets 408."""
    workers: int = 2
    """Requests that are decoded, inferred and encoded at a time."""
    max_waiting: int = 32
    """Requests that may wait for a worker or be read; more get 503."""
    in_place_ms: float = 1.0
    """A model that takes no longer answers in the event loop instead of a worker, while no worker is busy."""
    in_place_bytes: int = 16 * 1024
    """A larger request always goes to a worker."""
    max_connections: int = 256
    """Open connections; more get 503."""
    shutdown_s: float = 5.0
    """How long a stop waits for requests in flight."""
    allow_remote: bool = False
    """Whether another address than loopback may be bound. Requests are neither encrypted nor authenticated."""
