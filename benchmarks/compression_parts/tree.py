"""The line of the gradient-boosted tree: how much smaller `tree-compact` makes it, and what that costs."""

from typing import Final

from compression_parts.models import TREE, load

from shoal_compression.budget import Budget
from shoal_compression.comparing import classes_of, paired_difference
from shoal_compression.running import outputs_of
from shoal_compression.techniques.trees.compact import TreeCompact

LEAST_SMALLER: Final = 2.0
MOST_LOST_POINTS: Final = 0.1
FEWEST_ROWS: Final = 5_000
"""From so many rows on, points are a goal."""


def tree_line() -> dict[str, object]:
    """Return the line: times as small as the source, with the points lost beside it; the peer is the source itself."""
    model, data = load(TREE)
    labels = data.test.labels
    assert labels is not None
    made = TreeCompact().apply(model, data, Budget())
    [was, now] = [
        classes_of(outputs_of(one, data.test)[one.outputs[0].name]) == labels.reshape(-1) for one in (model, made)
    ]
    lost = paired_difference(was, now)
    points = -100 * lost.value
    smaller = model.size_bytes / made.size_bytes
    return {
        "name": "quantize_size_tree",
        "unit": "times smaller",
        "ours": round(smaller, 3),
        "peer": 1.0,
        "peer_name": "skl2onnx as exported; no peer makes trees smaller",
        "ratio": round(smaller, 3),
        "n": len(labels),
        "goal": f">= {LEAST_SMALLER} and <= {MOST_LOST_POINTS} points lost",
        "holds": smaller >= LEAST_SMALLER and points <= MOST_LOST_POINTS and len(labels) >= FEWEST_ROWS,
        "points_lost": round(points, 3),
        "interval_95": [round(-100 * lost.high, 3), round(-100 * lost.low, 3)],
        "bytes": {"source": model.size_bytes, "ours": made.size_bytes},
    }
