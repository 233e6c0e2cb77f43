"""The curves of runs: how each metric went, in no more points than a picture shows."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise
from math import inf, isfinite
from typing import Final

from sqlalchemy import func
from sqlmodel import Session, col, select

from shoal_hub.tracking.tables import TrackedMetric
from shoal_hub.tracking.values import Measured, history_of

Curve = Sequence[tuple[int, float]]
"""Steps and values, in the order of steps."""
MOST_POINTS: Final = 400
"""Of a curve; of longer ones each stretch shows its lowest and its highest value."""
MOST_CURVES: Final = 64
_READ: Final = 50_000


def curves_of(session: Session, runs: Iterable[str]) -> dict[str, dict[str, Curve]]:
    """Return the metrics that any of these runs has measured at several steps, by name and then by run.

    Of more metrics than a page shows, the first by name.
    """
    ids = list(runs)
    found: dict[str, dict[str, Curve]] = defaultdict(dict)
    measured = col(TrackedMetric.key)
    several = (
        select(measured)
        .where(col(TrackedMetric.run).in_(ids))
        .group_by(measured)
        .having(func.count(func.distinct(col(TrackedMetric.step))) > 1)
        .order_by(measured)
        .limit(MOST_CURVES)
    )
    for key in session.exec(several).all():
        for run in ids:
            page = history_of(session, run, key, limit=_READ, token="")
            if page.items:
                found[key][run] = thinned(_last_of_steps(page.items))
    return dict(found)


def thinned(curve: Curve, most: int = MOST_POINTS) -> Curve:
    """Return a curve of at most `most` points that shows its extremes: two of each of equally long stretches."""
    if len(curve) <= most:
        return curve
    count = most // 2
    bounds = [round(at * len(curve) / count) for at in range(count + 1)]
    kept: list[tuple[int, float]] = []
    for start, end in pairwise(bounds):
        part = range(start, end)
        lowest = min(part, key=lambda at: curve[at][1] if isfinite(curve[at][1]) else inf)
        highest = max(part, key=lambda at: curve[at][1] if isfinite(curve[at][1]) else -inf)
        kept += [curve[at] for at in sorted({lowest, highest})]
    return kept


def _last_of_steps(items: Sequence[Measured]) -> Curve:
    """Return one value a step: the last that was measured, as of an epoch that was done again after a kill."""
    last: dict[int, float] = {}
    for one in items:
        last[one.step] = one.value
    return list(last.items())
