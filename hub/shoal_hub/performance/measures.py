"""From sums to metrics: what labels say, what values say, and what is estimated without either. Pure."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from shoal_hub.performance.tally import Part, VersionForm, VersionTally
from shoal_numerics.accuracy_estimate import Calibration, estimate_accuracy
from shoal_numerics.classification import Average, ClassMetrics, class_metrics
from shoal_numerics.roc import RocArea, mean_area, roc_area

CalibratedBy = Literal["labels", "held_out", "nothing"]
"""What an estimate rests on: labels that came back, held-out data of the version's bundle, or the model's own word."""
MIN_CALIBRATING_LABELS: Final = 200
"""Labels that have to have come back of a version to calibrate it; with fewer, its held-out data do."""
_WEAKEST: Final[tuple[CalibratedBy, ...]] = ("nothing", "held_out", "labels")
ESTIMATE_NOTE: Final = (
    "estimated from how sure the model is, without labels; it can not see concept drift: where the truth for the same "
    "input has changed, it stays as it was however wrong the model is"
)


@dataclass(frozen=True)
class Calibrated:
    """What estimates of one version rest on."""

    calibration: Calibration | None
    by: CalibratedBy


@dataclass(frozen=True)
class Estimate:
    """What the accuracy is taken to be, without labels.

    Attributes:
        accuracy: 0 to 1.
        low: Lower end of the interval of 95 %.
        high: Upper end.
        samples: Answers that it is made of.
        by: What it rests on.
    """

    accuracy: float
    low: float
    high: float
    samples: int
    by: CalibratedBy


def calibrated(form: VersionForm, tally: VersionTally) -> Calibrated:
    """Return what a version's estimates rest on: its labels if enough came back, or else its held-out data."""
    found = tally.calibration()
    if found is not None and int(found.answered.counts.sum()) >= MIN_CALIBRATING_LABELS:
        return Calibrated(found, "labels")
    if form.calibration is not None:
        return Calibrated(form.calibration, "held_out")
    return Calibrated(None, "nothing")


def estimate(
    part: Part, form_of: Callable[[int], VersionForm | None], calibrated_of: Callable[[int], Calibrated]
) -> Estimate | None:
    """Return an estimate of the accuracy; None where no answer has a confidence.

    Versions are estimated by themselves; their estimates and the ends of their intervals are averaged by samples, as if
    all of them were off in the same direction.
    """
    found: list[tuple[Estimate, int]] = []
    for version, counts in part.confidence.items():
        form, samples = form_of(version), int(counts.sum())
        if form is None or not samples or not form.layout.classes:
            continue
        rests = calibrated_of(version)
        one = estimate_accuracy(form.histogram(counts), rests.calibration)
        found.append((Estimate(one.accuracy, one.low, one.high, samples, rests.by), samples))
    if not found:
        return None
    weights = np.array([samples for _, samples in found], dtype=np.float64)
    shares = weights / weights.sum()
    accuracy, low, high = (
        float(shares @ np.array([getattr(one, name) for one, _ in found])) for name in ("accuracy", "low", "high")
    )
    by = min((one.by for one, _ in found), key=_WEAKEST.index)
    return Estimate(accuracy, low, high, int(weights.sum()), by)


def classified(part: Part, average: Average | None = None) -> ClassMetrics | None:
    """Return accuracy, precision, recall and F1; None where no label came.

    The accuracy is of all labelled samples, also those of agents that count no classes. Binary is asked of two classes
    alone; of others it is the default average.
    """
    if not part.labelled:
        return None
    accuracy = min(part.correct, part.labelled) / part.labelled
    if part.classes is None:
        return ClassMetrics(part.labelled, accuracy, None, None, None, average or "macro")
    is_binary = len(part.classes.true_positives) == 2  # noqa: PLR2004
    found = class_metrics(part.classes, None if average == "binary" and not is_binary else average)
    return ClassMetrics(part.labelled, accuracy, found.precision, found.recall, found.f1, found.average)


def area(part: Part) -> RocArea | None:
    """Return the area under the ROC curve: of two classes, of the second; else the mean over classes (macro)."""
    found = (roc_area(negatives, positives) for negatives, positives in part.scores.values())
    return mean_area([one for one in found if one is not None])
