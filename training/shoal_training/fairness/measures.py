"""Differences of a classifier between groups, on many resamples at once.

Demographic parity: the share of rows that get the favourable label. Equalised odds: that share among rows whose label
it is, and among the others (Hardt, Price and Srebro 2016, arXiv 1610.02413); its difference is the larger of both.
"""

from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Measure = Literal["demographic_parity_difference", "demographic_parity_ratio", "equalised_odds_difference"]
MEASURES: Final[tuple[Measure, ...]] = (
    "demographic_parity_difference",
    "demographic_parity_ratio",
    "equalised_odds_difference",
)
IS_RISING: Final[dict[Measure, bool]] = {one: one == "demographic_parity_ratio" for one in MEASURES}
"""Whether more is fairer."""

Floats = NDArray[np.float64]


class GroupRates(NamedTuple):
    """Shares of groups, (resamples, groups) each; NaN where a group has no such rows.

    Attributes:
        rows: How many there are.
        chosen: Share that gets the favourable label.
        true_positive: Share among those whose label it is.
        false_positive: Share among the others.
    """

    rows: Floats
    chosen: Floats
    true_positive: Floats
    false_positive: Floats


def group_rates(
    is_favourable: NDArray[np.bool_], is_chosen: NDArray[np.bool_], groups: NDArray[np.bool_], weights: Floats
) -> GroupRates:
    """Return the rates of each group.

    Args:
        is_favourable: (n,) whether a row's label is the favourable one.
        is_chosen: (n,) whether the model says so.
        groups: (groups, n) which rows are of a group.
        weights: (resamples, n).
    """
    within = groups.T.astype(np.float64)

    def counted(which: NDArray[np.bool_]) -> Floats:
        return np.asarray(weights @ (within * which[:, np.newaxis]))

    everyone = np.ones(len(is_chosen), dtype=np.bool_)
    rows, positives, negatives = counted(everyone), counted(is_favourable), counted(~is_favourable)
    with np.errstate(invalid="ignore", divide="ignore"):
        return GroupRates(
            rows,
            counted(is_chosen) / rows,
            counted(is_chosen & is_favourable) / positives,
            counted(is_chosen & ~is_favourable) / negatives,
        )


def measure(name: Measure, rates: GroupRates) -> Floats:
    """Return a difference between groups, (resamples,); NaN where fewer than two groups have such rows."""
    match name:
        case "demographic_parity_difference":
            return _gap(rates.chosen)
        case "demographic_parity_ratio":
            low, high = _ends(rates.chosen)
            with np.errstate(invalid="ignore", divide="ignore"):
                return np.where(high == 0, np.where(np.isnan(low), np.nan, 1.0), low / high)
        case "equalised_odds_difference":
            return np.fmax(_gap(rates.true_positive), _gap(rates.false_positive))


def _gap(rates: Floats) -> Floats:
    low, high = _ends(rates)
    return np.asarray(high - low)


def _ends(rates: Floats) -> tuple[Floats, Floats]:
    is_known = ~np.isnan(rates)
    are_enough = is_known.sum(axis=1) >= 2  # noqa: PLR2004 - groups that can differ
    low = np.where(is_known, rates, np.inf).min(axis=1)
    high = np.where(is_known, rates, -np.inf).max(axis=1)
    return np.where(are_enough, low, np.nan), np.where(are_enough, high, np.nan)
