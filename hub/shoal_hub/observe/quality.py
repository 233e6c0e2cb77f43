"""How well models do on devices, over a stretch of time up to now: from the windows that devices send."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import accumulate
from typing import Final

from prometheus_client.core import GaugeHistogramMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from sqlmodel import Session

from shoal_contract.telemetry import LATENCY_EDGES_MS
from shoal_hub.alerts.minutes import SLICE_S
from shoal_hub.alerts.tallies import Counts, WindowTallies

_LABELS: Final = ["model", "version"]
_EDGES_S: Final = (*(str(edge / 1000) for edge in LATENCY_EDGES_MS), "+Inf")
_NUMBERS: Final = {
    "requests": "Requests",
    "errors": "Requests that got an error",
    "samples": "Samples in answered requests",
    "labelled": "Samples whose true label came back",
}
"""Of `Counts`, with what they are."""
_PREFIX: Final = "shoal_model_recent_"
_MORE_SLICES: Final = 3
"""The minutes that a stretch begins and ends in, and one that is over while it is read."""
_AT_ONCE: Final = 20
"""Past minutes that one reading goes through: with the usual window, the first one tells all."""
_NAMES: Final = {"labelled": "labelled_samples"}


class Quality:
    """Remembers what the windows of past minutes come to, so that each is read once.

    Args:
        window: Over which time it is told.
        most: Versions at most that it is told of: those with the most requests.
    """

    def __init__(self, window: timedelta, most: int) -> None:
        self._window = window
        self._most = most
        most_slices = int(window.total_seconds()) // SLICE_S + _MORE_SLICES
        self._tallies = WindowTallies(most_slices, _AT_ONCE)

    def families(self, session: Session, now: datetime) -> Iterator[Metric]:
        """Yield requests, errors, accuracy and latency of each model's version; nothing until all minutes are read.

        A part of them would look like a fleet with fewer requests.

        Args:
            session: An open session.
            now: The clock.
        """
        sums = self._sums(session, now)
        if not self._tallies.is_whole:
            return
        told = sorted(sums, key=lambda key: (-sums[key].requests, key))[: self._most]
        span = f"in windows that came in the last {self._window.total_seconds():g} s"
        for name, text in _NUMBERS.items():
            family = GaugeMetricFamily(
                f"shoal_model_recent_{_NAMES.get(name, name)}", f"{text} {span}.", labels=_LABELS
            )
            for model, version in told:
                family.add_metric([model, str(version)], getattr(sums[model, version], name))
            yield family
        yield _ratio("error", f"Share of requests that got an error, {span}.", sums, told)
        yield _ratio("accuracy", f"Share of labelled samples that were answered right, {span}.", sums, told)
        yield _latency(f"Time that answers took, {span}.", sums, told)
        yield GaugeMetricFamily(
            "shoal_model_versions_left_out",
            "Versions with windows that have no series of their own, by SHOAL_METRICS_MAX_VERSIONS.",
            len(sums) - len(told),
        )

    def _sums(self, session: Session, now: datetime) -> dict[tuple[str, int], Counts]:
        self._tallies.begin_look()
        sums: dict[tuple[str, int], Counts] = {}
        for place, counts in self._tallies.over(session, now - self._window, now).items():
            key = (place.model, place.version)
            sums[key] = sums[key] + counts if key in sums else counts
        return sums


def _ratio(name: str, text: str, sums: dict[tuple[str, int], Counts], told: list[tuple[str, int]]) -> GaugeMetricFamily:
    """Return a share, where there is anything to make it of."""
    family = GaugeMetricFamily(f"shoal_model_recent_{name}_ratio", text, labels=_LABELS)
    for model, version in told:
        counts = sums[model, version]
        part, of = (counts.errors, counts.requests) if name == "error" else (counts.correct, counts.labelled)
        if of:
            family.add_metric([model, str(version)], min(part, of) / of)
    return family


def _latency(text: str, sums: dict[tuple[str, int], Counts], told: list[tuple[str, int]]) -> Metric:
    family = GaugeHistogramMetricFamily("shoal_model_recent_latency_seconds", text, labels=_LABELS)
    for model, version in told:
        counts = sums[model, version].latency
        if len(counts) == len(_EDGES_S):
            # Buckets alone: what devices send has no sum. The last one is the count.
            for edge, up_to in zip(_EDGES_S, accumulate(int(one) for one in counts), strict=True):
                labels = {"model": model, "version": str(version), "le": edge}
                family.add_sample(f"{family.name}_bucket", labels, up_to)
    return family
