"""How one alert goes from pending to firing to resolved. Pure.

Time is what was seen to pass between two looks, by a clock that only goes forward: one that is set, or a hub that was
off, makes nothing fire and nothing end.
"""

from dataclasses import dataclass, replace

from shoal_hub.alerts.tables import AlertState


@dataclass(frozen=True)
class Standing:
    """How far an alert is.

    Attributes:
        state: Pending until its condition has held for long enough, firing until it has not held for long enough.
        held_s: For how long it was seen to hold, while it is pending.
        clear_s: For how long, without a break, it was seen not to hold, while it fires; None: it held at the last look.
    """

    state: AlertState
    held_s: float = 0.0
    clear_s: float | None = None

    @property
    def is_open(self) -> bool:
        """Whether it may still change."""
        return self.state != "resolved"


@dataclass(frozen=True)
class Patience:
    """For how long a condition has to hold until it fires, and not to hold until what fires is over; seconds."""

    for_s: float
    resolve_s: float


def advance(
    standing: Standing | None, patience: Patience, elapsed_s: float, *, is_breached: bool | None
) -> Standing | None:
    """Return how an alert stands after a look; None: there is none, or a pending one has come to nothing.

    Args:
        standing: How it stood; None where there was none. What is resolved stays so: the next one is another alert.
        patience: The rule's.
        elapsed_s: Since the last look; nothing is known to have held before the first one.
        is_breached: What the look has shown; None: nothing, and then nothing changes.
    """
    if standing is None:
        return _pending(0.0, patience) if is_breached else None
    if is_breached is None or not standing.is_open:
        return standing
    if standing.state == "pending":
        return _pending(standing.held_s + elapsed_s, patience) if is_breached else None
    if is_breached:
        return replace(standing, clear_s=None)
    clear_s = 0.0 if standing.clear_s is None else standing.clear_s + elapsed_s
    return replace(standing, clear_s=clear_s, state="resolved" if clear_s >= patience.resolve_s else "firing")


def _pending(held_s: float, patience: Patience) -> Standing:
    return Standing("firing" if held_s >= patience.for_s else "pending", held_s)
