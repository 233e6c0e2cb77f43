"""Every bound of the serving path, with its unit."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ServingSettings:
    """Bounds that keep a small machine responsive and its memory in hand. Connections have theirs, `EndpointLimits`."""

    workers: int = 2
    """Requests that are decoded, inferred and encoded at a time."""
    max_waiting: int = 32
    """Requests that may wait for a worker; more get 429."""
    most_together: int = 8
    """Requests that are answered together, of those that wait, where a model was measured to gain by it."""
    max_stuck: int = 2
    """Runs over their time that other threads stand in for."""
    timeout_s: float = 60.0
    """A request that has not been answered by then gets 504, and its place is free."""
    in_place_ms: float = 1.0
    """A kind of request that takes no longer is answered in the event loop instead of a worker."""
    max_inflated_bytes: int = 16 * 1024 * 1024
    """A compressed body may grow to so much."""
    cache_bytes: int = 0
    """What kept answers take at most; 0: none is kept, and no input is hashed."""
    cache_ttl_s: float = 3600.0
    """How long a kept answer is good for."""
    allow_non_finite: bool = False
    """Whether inputs may hold NaN and infinity."""
