"""Prints a figure as a line of JSON, and tells which answers are right."""

import json
from typing import Any

import numpy as np
import numpy.typing as npt

from shoal_compression.comparing import classes_of
from shoal_numerics.tensors import Array


def right(answers: Array, labels: Array | None) -> npt.NDArray[np.bool_]:
    """Return which rows of answers (n, …) name the label, (n,)."""
    assert labels is not None
    return np.asarray(classes_of(answers) == labels.reshape(-1), np.bool_)


def line(
    name: str,
    unit: str,
    ours: float | None,
    peer: float | None,
    peer_name: str,
    n: int | None,
    goal: str | None,
    holds: bool | None,
    *,
    ratio: float | None = None,
    digits: int = 4,
    **told: Any,  # noqa: ANN401 - what JSON takes
) -> None:
    """Print one figure; the ratio is ours over the peer's unless it is given."""
    if ratio is None and ours is not None and peer:
        ratio = ours / peer
    ours, peer, ratio = (None if one is None else round(one, digits) for one in (ours, peer, ratio))
    about = {"name": name, "unit": unit, "ours": ours, "peer": peer, "peer_name": peer_name, "ratio": ratio, "n": n}
    print(json.dumps({**about, "goal": goal, "holds": holds, **told}), flush=True)
