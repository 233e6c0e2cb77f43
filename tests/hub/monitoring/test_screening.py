"""What many windows are looked at for at once is what `detect_drift` says of each."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_hub.monitoring.screening import THRESHOLDS, Screen
from shoal_numerics import Histogram, HistogramEdges, detect_drift
from shoal_numerics.histogram import MAX_ROWS

SEEDS = st.integers(0, 2**32 - 1)


def reference(features: int, seed: int = 0, rows: int = 2000) -> Histogram:
    """Return counts of features of several kinds: with few values, with atoms, with missing ones, never seen."""
    random = np.random.default_rng(seed)
    values = random.normal(size=(rows, features))
    values[:, ::3] = np.round(values[:, ::3])
    values[random.random(values.shape) < 0.02] = np.nan
    if features > 4:
        values[:, 4] = np.nan
    return Histogram.of(HistogramEdges.equal_mass(values, 40), values)


def windows(of: Histogram, seed: int, count: int) -> list[Histogram]:
    """Return windows of some and many rows, some of which have moved, spread or lost values."""
    random = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        rows = int(random.choice([0, 5, 99, 100, 130, 400]))
        values = random.normal(random.choice([0, 0.3, 1.5]), random.choice([0.3, 1]), (rows, of.edges.feature_count))
        values[random.random(values.shape) < random.choice([0, 0.05, 0.2])] = np.nan
        made.append(Histogram.of(of.edges, values))
    return made


@given(SEEDS, st.integers(1, 7), st.integers(1, 9))
def test_a_screen_says_what_the_rule_says_and_passes_over_none_that_it_raises(
    seed: int, features: int, count: int
) -> None:
    of = reference(features, seed % 5)
    made = windows(of, seed, count)
    categorical = [at % 3 == 0 and seed % 2 == 0 for at in range(features)]  # of few values
    screen = Screen(of, [at for at, one in enumerate(categorical) if one])
    screened = screen.screen(np.stack([one.padded() for one in made]), np.stack([one.missing for one in made]))
    limits = replace(THRESHOLDS, min_features=min(THRESHOLDS.min_features, features))
    for at, one in enumerate(made):
        verdict = detect_drift(of, one, limits, categorical)
        known = [found.ks for found in verdict.features if not np.isnan(found.ks)]
        assert screened.rows[at] == one.row_count
        assert screened.is_tested[at] == verdict.is_tested
        assert np.array_equal(screened.drift[at], max(known, default=np.nan), equal_nan=True)
        assert screened.may_raise[at] or not verdict.is_raised


def test_windows_like_the_reference_need_no_second_look() -> None:
    values = np.random.default_rng(0).normal(size=(20_000, 7))
    of = Histogram.of(HistogramEdges.equal_mass(values, 40), values)
    random = np.random.default_rng(3)
    made = [Histogram.of(of.edges, random.normal(size=(500, 7))) for _ in range(50)]
    screened = Screen(of).screen(np.stack([one.padded() for one in made]), np.stack([one.missing for one in made]))
    assert screened.is_tested.all()
    assert not screened.may_raise.any()


@pytest.mark.parametrize("fault", ["a bin that is not there", "rows that differ", "too many rows"])
def test_counts_that_can_not_be_have_no_rows_and_spoil_no_other(fault: str) -> None:
    of = reference(3)
    good = windows(of, 1, 3)
    counts, missing = np.stack([one.padded() for one in good]), np.stack([one.missing for one in good])
    narrow = int(np.diff(of.edges.bin_offsets).argmin())
    match fault:
        case "a bin that is not there":
            assert np.diff(of.edges.bin_offsets)[narrow] < counts.shape[2]
            counts[1, narrow, -1] += 1
            counts[1, [one for one in range(3) if one != narrow], 0] += 1
        case "rows that differ":
            missing[1, 0] += 1
        case _:
            missing[1] += MAX_ROWS + 1
    screened = Screen(of).screen(counts, missing)
    assert screened.rows.tolist() == [good[0].row_count, -1, good[2].row_count]
