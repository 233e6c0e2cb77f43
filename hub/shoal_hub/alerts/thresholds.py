"""Where each metric of a model becomes too bad: what was set for it, or the metric's own."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session, col, select
from typing_extensions import Self

from shoal_hub.alerts.conditions import MetricName
from shoal_hub.alerts.metrics import METRICS
from shoal_hub.alerts.tables import AlertThreshold
from shoal_hub.database import announce
from shoal_hub.errors import NotFoundError
from shoal_hub.registry.tables import Model


@dataclass(frozen=True)
class Thresholds:
    """Every threshold that was set, by model and metric."""

    given: Mapping[tuple[str, str], float]

    @classmethod
    def read(cls, session: Session) -> Self:
        """Read all of them."""
        return cls({(row.model, row.metric): row.value for row in session.exec(select(AlertThreshold))})

    def of(self, model: str, metric: MetricName) -> float | None:
        """Return what counts for a model; None: nothing does, as none is set and the metric has none of its own."""
        return self.given.get((model, metric), METRICS[metric].default)


def thresholds_of(session: Session, model: str) -> dict[MetricName, float]:
    """Return the threshold of one model for each metric that has one."""
    known = Thresholds.read(session)
    found = ((metric, known.of(model, metric)) for metric in METRICS)
    return {metric: threshold for metric, threshold in found if threshold is not None}


def set_thresholds(
    session: Session, model: str, values: Mapping[MetricName, float], *, by: str, now: datetime
) -> dict[MetricName, float]:
    """Give a model these thresholds; metrics that are not named go by their own again. Return what counts now.

    Raises:
        NotFoundError: There is no such model.
    """
    if session.get(Model, model) is None:
        raise NotFoundError(f"setting thresholds of {model}: there is no such model", "list them: shoal models list")
    known = {row.metric: row for row in session.exec(select(AlertThreshold).where(col(AlertThreshold.model) == model))}
    for metric, row in known.items():
        if metric not in values:
            session.delete(row)
    for metric, value in values.items():
        row = known.get(metric) or AlertThreshold(model=model, metric=metric, value=value, set_by=by, set_at=now)
        if row.value != value:
            row.value, row.set_by, row.set_at = value, by, now
        session.add(row)
    session.flush()
    announce(session, "alerts")
    return thresholds_of(session, model)
