"""A bound that may be looked at at every step: simulated under the null, and against what defines it."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_numerics import GateError
from shoal_numerics.sequential import boundary, log_evidence, mixing_precision

ALPHAS = st.floats(1e-6, 0.2)


def crossing_share(alpha: float, drift: float, mixing: float, *, alpha_used: float | None = None) -> float:
    """Return how many of 4,000 Brownian paths ever cross the bound, looked at 600 times over 8 decades."""
    random = np.random.default_rng(7)
    information = mixing * np.geomspace(1e-3, 1e5, 600)
    z_needed = boundary(information, alpha_used or alpha, mixing)
    score = drift * information[0] + random.standard_normal(4000) * math.sqrt(information[0])
    is_crossed = score > z_needed[0] * math.sqrt(information[0])
    for step, needed, now in zip(np.diff(information), z_needed[1:], information[1:], strict=True):
        score = score + drift * step + random.standard_normal(4000) * math.sqrt(step)
        is_crossed |= score > needed * math.sqrt(now)
    return float(is_crossed.mean())


@pytest.mark.parametrize(("alpha", "most", "least"), [(0.05, 0.055, 0.025), (0.2, 0.21, 0.12), (0.01, 0.014, 0.003)])
def test_looking_six_hundred_times_is_wrong_with_probability_alpha_at_most(
    alpha: float, most: float, least: float
) -> None:
    found = crossing_share(alpha, 0.0, mixing_precision(alpha, 0.02))
    assert least < found <= most


@pytest.mark.parametrize(("alpha", "most"), [(0.05, 0.055), (0.01, 0.014)])
def test_that_simulation_would_find_a_doubled_alpha(alpha: float, most: float) -> None:
    assert crossing_share(alpha, 0.0, mixing_precision(alpha, 0.02), alpha_used=2 * alpha) > most


def test_an_effect_on_the_harmless_side_is_found_harmful_even_less_often() -> None:
    mixing = mixing_precision(0.05, 0.02)
    assert crossing_share(0.05, -0.01, mixing) < 0.5 * crossing_share(0.05, 0.0, mixing)


def test_any_true_effect_is_found_in_the_end() -> None:
    assert crossing_share(0.05, 0.002, mixing_precision(0.05, 0.02)) == 1.0


@given(st.floats(1e-6, 1e9), ALPHAS, st.floats(1e-3, 1e6))
def test_the_bound_is_where_the_evidence_is_one_over_alpha(information: float, alpha: float, mixing: float) -> None:
    z = boundary(information, alpha, mixing)
    assert log_evidence(z, information, mixing) == pytest.approx(-math.log(alpha), rel=1e-9)


@given(st.floats(1e-4, 1e4), ALPHAS)
def test_less_error_takes_a_wider_bound(information: float, alpha: float) -> None:
    assert boundary(information, alpha / 2, 1.0) > boundary(information, alpha, 1.0)


def test_the_evidence_has_a_mean_of_one_without_an_effect() -> None:
    # Under the null E is a martingale that begins at 1; the integral over the normal law of z shows it.
    z = np.linspace(-40, 40, 400_001)
    density = np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)
    for information in (0.1, 1.0, 7.0):
        mean = (np.exp(log_evidence(z, information, 1.0)) * density).sum() * (z[1] - z[0])
        assert mean == pytest.approx(1.0, abs=1e-6)


@given(ALPHAS, st.floats(1e-4, 1e3), st.floats(0.2, 5))
def test_no_other_mixing_finds_the_effect_with_fewer_samples(alpha: float, distance: float, factor: float) -> None:
    ours = mixing_precision(alpha, distance)
    # Where 95 % are found with ours: z + 1.645 = distance √I.
    information = ours * (2 * math.log(1 / (2 * alpha)) + math.log1p(2 * math.log(1 / (2 * alpha))))
    best = float(boundary(information, alpha, ours))
    assert best + 1.645 == pytest.approx(distance * math.sqrt(information), rel=1e-6)
    # The best in closed form is off by 0.208 % at alpha = 0.2, the largest there is, and by less below.
    assert boundary(information, alpha, ours * factor) >= best * (1 - 2.1e-3)


@pytest.mark.parametrize("alpha", [0.0, -0.1, 0.21, 1.0, math.nan])
def test_an_alpha_out_of_range_is_refused(alpha: float) -> None:
    with pytest.raises(GateError, match="Setting a sequential bound: alpha is"):
        boundary(1.0, alpha, 1.0)


@pytest.mark.parametrize("distance", [0.0, -1.0, math.inf, math.nan])
def test_an_effect_to_find_out_of_range_is_refused(distance: float) -> None:
    with pytest.raises(GateError, match="the effect to find"):
        mixing_precision(0.05, distance)
