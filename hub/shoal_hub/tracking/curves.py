"""The curves of runs: how each metric went, in no more points than a picture shows."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise
from math import ceil, inf, isfinite, nan
from typing import Final

from sqlalchemy import func
from sqlmodel import Session, col, select

from shoal_hub.tracking.tables import TrackedMetric

Curve = Sequence[tuple[int, float]]
"""Steps and values, in the order of steps."""
MOST_POINTS: Final = 400
"""Of a curve; of longer ones each stretch shows its lowest and its highest value."""
MOST_CURVES: Final = 64
_READ: Final = 2_000
"""Of a curve's values; of longer ones they are evenly spread."""


def curves_of(session: Session, runs: Iterable[str]) -> dict[str, dict[str, Curve]]:
    """Return the metrics that any of these runs has measured at several steps, by name and then by run.

    Of more metrics than a page shows, the first by name.
    """
    ids = list(runs)
    found: dict[str, dict[str, Curve]] = defaultdict(dict)
    measured, step = col(TrackedMetric.key), col(TrackedMetric.step)
    of_these = col(TrackedMetric.run).in_(ids)
    several = select(measured).where(of_these).group_by(measured).having(func.max(step) > func.min(step))
    keys = session.exec(several.order_by(measured).limit(MOST_CURVES)).all()
    counted = select(measured, TrackedMetric.run, func.count()).where(of_these, measured.in_(keys))
    for key, run, count in session.exec(counted.group_by(measured, TrackedMetric.run).order_by(measured)).all():
        found[key][run] = thinned(_last_of_steps(_points(session, run, key, every=ceil(count / _READ))))
    return dict(found)


def _points(session: Session, run: str, key: str, *, every: int) -> Curve:
    """Return one in so many of a metric's values, the newest among them, in the order of steps and times."""
    one = TrackedMetric
    newest_first = (col(one.step).desc(), col(one.at_ms).desc(), col(one.value).desc(), col(one.model).desc())
    place = func.row_number().over(order_by=newest_first)
    ordered = select(one.step, one.value, one.is_nan, place.label("place")).where(one.run == run, one.key == key)
    rows = ordered.subquery()
    wanted = select(rows.c.step, rows.c.value, rows.c.is_nan).where((rows.c.place - 1) % every == 0)
    told = session.exec(wanted.order_by(rows.c.place.desc())).all()
    return [(step, nan if is_nan else value) for step, value, is_nan in told]


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


def _last_of_steps(points: Curve) -> Curve:
    """Return one value a step: the last that was measured, as of an epoch that was done again after a kill."""
    return list(dict(points).items())
