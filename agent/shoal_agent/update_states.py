"""The states of one attempt at a deployment, and what leads from one to the next, as data.

`begin` is where an attempt starts. `hold`, `downloaded`, `commit` and `fail` are where one ends: what is held begins
again, with what is on disk. The updater does the work of each state; it can go no way that is not in the table.
"""

from collections.abc import Mapping
from typing import Final, Literal

State = Literal[
    "begin", "fetch", "verify", "stage", "activate", "probe", "commit", "roll_back", "fail", "hold", "downloaded"
]
Happening = Literal["go", "ready", "tried", "done", "probes", "kept", "held", "retry", "failed"]
"""What happens in a state.

`go`: it may be fetched. `ready`: it is a verified candidate already. `tried`: it serves already, unproven. `done`: the
state's work is done. `probes`: there are probes to pass. `kept`: it is to be downloaded only. `held`: the policy, the
device's owner or its disk has it wait where it is. `retry`: it failed and may be tried again. `failed`: it failed for
good.
"""

TRANSITIONS: Final[Mapping[State, Mapping[Happening, State]]] = {
    "begin": {"go": "fetch", "ready": "stage", "tried": "activate", "held": "hold", "retry": "hold", "failed": "fail"},
    "fetch": {"done": "verify", "held": "hold", "retry": "hold", "failed": "fail"},
    "verify": {"done": "stage", "retry": "hold", "failed": "fail"},
    "stage": {"done": "activate", "kept": "downloaded", "held": "hold", "retry": "hold", "failed": "fail"},
    "activate": {"done": "commit", "probes": "probe", "held": "hold", "retry": "roll_back", "failed": "roll_back"},
    "probe": {"done": "commit", "held": "hold", "retry": "roll_back", "failed": "roll_back"},
    "roll_back": {"retry": "hold", "failed": "fail"},
    "commit": {"failed": "roll_back"},
    "fail": {},
    "hold": {},
    "downloaded": {},
}
TOLD: Final[frozenset[State]] = frozenset(
    {"fetch", "verify", "stage", "activate", "probe", "commit", "roll_back", "fail"}
)
"""States of which the hub is told as an attempt comes into them; the others are in the reported state."""
SERVES_IT: Final[frozenset[State]] = frozenset({"activate", "probe", "commit"})
"""States in which the version of the attempt is the one that serves."""


def next_state(state: State, happening: Happening) -> State:
    """Return the state after `happening`.

    Raises:
        ValueError: The table has no such way: a defect of the caller.
    """
    try:
        return TRANSITIONS[state][happening]
    except KeyError:
        known = ", ".join(TRANSITIONS[state]) or "nothing"
        message = f"a deployment in the state {state!r}: {happening!r} found, expected {known}"
        raise ValueError(message) from None
