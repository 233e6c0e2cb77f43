"""Stops a recipe early, by cheap figures of what its steps have made so far: it would not be chosen."""

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from shoal_compression.comparing import classes_of
from shoal_compression.data import Samples
from shoal_compression.errors import CompressionError
from shoal_compression.failing import told
from shoal_compression.model import RUNTIMES, Model
from shoal_compression.operations import contents
from shoal_compression.recipe import Tolerance
from shoal_compression.running import outputs_of
from shoal_compression.technique import Technique
from shoal_compression.verify import answers_numbers, finite_outputs

QUICK_SAMPLES: Final = 512
_DEVIATIONS: Final = 3.0
"""By which a few samples may mislead."""


class StoppedEarlyError(CompressionError):
    """A recipe would not be chosen; it says why."""


class Proxy(NamedTuple):
    """What is cheap to tell of a finished file."""

    name: str
    form: str
    precision: str
    size_bytes: int
    macs: int
    drop_points: float


class EarlyStop:
    """Watches the recipes of one search; it learns from each file that is made."""

    def __init__(self, source: Model, samples: Samples, tolerance: Tolerance) -> None:
        self._few = samples.first(QUICK_SAMPLES)
        self._tolerance = tolerance
        # Finite: otherwise no recipe could be compared with it.
        self._answers = finite_outputs(source, self._few)[source.outputs[0].name]
        self._can_tell = not answers_numbers(self._answers, self._few)
        labels = self._few.labels
        said = classes_of(self._answers)
        self._truth = said if labels is None or not self._can_tell else labels.reshape(-1)
        self._expected = np.asarray(said == self._truth, np.bool_)
        self._known: list[Proxy] = []
        self._newest: Proxy | None = None

    def begin(self) -> None:
        """Forget the file of a recipe that was refused at its end."""
        self._newest = None

    def watch(self, model: Model, left: Sequence[Technique]) -> None:
        """See that a recipe is still worth its time; a step that trains may win back what is lost before it.

        Raises:
            StoppedEarlyError: It is not.
            TechniqueError: What was made can not be looked at.
        """
        with told("looking at what a step has made", "leave the step out, or report the model's operators"):
            self._look(model, left)

    def _look(self, model: Model, left: Sequence[Technique]) -> None:
        if not self._can_tell or any(step.trains for step in left) or model.form not in RUNTIMES:
            return
        drop = 100 * float(self._expected.mean() - self._right(model).mean())
        allowed = self._allowed()
        if drop > allowed + self.margin:
            found = f"{drop:.1f} points lost on {len(self._few)} samples, {allowed:g} are allowed"
            raise StoppedEarlyError(f"stopped early: {found}")
        if not left:
            self._newest = self._compared(model, drop)

    def finished(self, name: str) -> None:
        """Take in the newest file, which was measured: another has to be better than it somewhere."""
        if self._newest is not None:
            self._known.append(self._newest._replace(name=name))
            self._newest = None

    @property
    def margin(self) -> float:
        """Points by which the few samples may mislead: three deviations of a difference of paired shares."""
        share = min(0.25, max(0.02, 1 - float(self._expected.mean())))
        return 100 * _DEVIATIONS * math.sqrt(2 * share * (1 - share) / len(self._few))

    def _compared(self, model: Model, drop: float) -> Proxy:
        held = contents(model, self._few)
        macs = held.macs or 0
        made = Proxy("", model.form, model.precision, model.size_bytes, macs, drop)
        for other in self._known:
            is_alike = (other.form, other.precision) == (made.form, made.precision)
            is_less = other.size_bytes <= made.size_bytes and other.macs <= made.macs
            if is_alike and is_less and other.drop_points < drop - self.margin:
                raise StoppedEarlyError(f"stopped early: {other.name} is smaller, does less and loses less")
        return made

    def _allowed(self) -> float:
        if self._few.labels is None:
            least = self._tolerance.min_agreement
            return 100.0 if least is None else 100 * (1 - least)
        most = self._tolerance.max_drop_points
        return 100.0 if most is None else most

    def _right(self, model: Model) -> npt.NDArray[np.bool_]:
        """Return for each of the few samples whether the class is the label, or the source's where there are none."""
        found = outputs_of(model, self._few)[model.outputs[0].name]
        return np.asarray(classes_of(found, self._answers) == self._truth, np.bool_)
