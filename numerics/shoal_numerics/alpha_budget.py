"""One error probability for a whole rollout, split over its metrics and waves beforehand.

What is split here holds however often a wave is looked at: that is `sequential`'s. `gates` takes the levels.
"""

import math
from dataclasses import dataclass

from shoal_numerics.errors import GateError
from shoal_numerics.sequential import check_alpha


@dataclass(frozen=True)
class Levels:
    """The error probabilities of one metric in one wave.

    Attributes:
        abort: of finding harm where there is none, over all looks.
        advance: of ruling out a harm that there is, over all looks.
    """

    abort: float
    advance: float

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            GateError: a level out of range.
        """
        check_alpha(self.abort)
        check_alpha(self.advance)


@dataclass(frozen=True)
class AlphaBudget:
    """The probability of any wrong verdict of a rollout, over all metrics, waves and looks together.

    An abort is wrong where no metric is harmed: the levels of all metrics and waves add up to alpha. An advance is
    wrong where a metric is harmed by its margin or more: for that this one metric's bound must fail, since all must
    agree, so the levels of the waves alone add up to alpha. Both cannot be wrong of one version, so alpha holds for the
    two together.

    Attributes:
        alpha: above 0, at most `sequential.MAX_ALPHA`.
        metric_weights: name and weight of each metric; only the proportions count.
        wave_weights: weight of each wave with a gate, in order; only the proportions count.
    """

    alpha: float
    metric_weights: tuple[tuple[str, float], ...]
    wave_weights: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        """Check that there is something to split, and among whom.

        Raises:
            GateError: alpha or a weight out of range, no metric or wave, or a name twice.
        """
        check_alpha(self.alpha)
        names = [name for name, _ in self.metric_weights]
        weights = [weight for _, weight in self.metric_weights]
        if not names or not self.wave_weights or len(set(names)) != len(names):
            message = (
                f"Splitting alpha: metrics are {names} in {len(self.wave_weights)} waves, expected at least one of "
                "each, and each name once."
            )
            raise GateError(message)
        if not all(math.isfinite(weight) and weight > 0 for weight in (*weights, *self.wave_weights)):
            message = f"Splitting alpha: weights {weights} and {self.wave_weights} must be above 0 and finite."
            raise GateError(message)

    @classmethod
    def even(cls, alpha: float, metrics: tuple[str, ...], waves: int = 1) -> "AlphaBudget":
        """Split alpha evenly.

        Raises:
            GateError: see the class.
        """
        return cls(alpha, tuple((name, 1.0) for name in metrics), (1.0,) * waves)

    def levels(self, metric: str, wave: int) -> Levels:
        """Return what one metric may spend in one wave.

        Args:
            metric: one of the budget's names.
            wave: the wave's place among those with a gate, from 0.

        Raises:
            GateError: a metric or wave that the budget has nothing for.
        """
        weights = dict(self.metric_weights)
        if metric not in weights:
            message = f"Reading the alpha budget: there is no metric {metric!r}, expected one of {sorted(weights)}."
            raise GateError(message)
        of_wave = self.of_wave(wave)
        return Levels(abort=of_wave * weights[metric] / math.fsum(weights.values()), advance=of_wave)

    def of_wave(self, wave: int) -> float:
        """Return what all metrics together may spend in one wave.

        Raises:
            GateError: a wave that the budget has nothing for.
        """
        if not 0 <= wave < len(self.wave_weights):
            message = f"Reading the alpha budget: wave {wave} is none of 0 to {len(self.wave_weights) - 1}."
            raise GateError(message)
        return self.alpha * self.wave_weights[wave] / math.fsum(self.wave_weights)

    def spent(self, wave: int) -> float:
        """Return what has been spent with the gate of this wave: its share and those of the waves before.

        Raises:
            GateError: a wave that the budget has nothing for.
        """
        return math.fsum(self.of_wave(number) for number in range(wave)) + self.of_wave(wave)
