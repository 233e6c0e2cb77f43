"""Whether histograms and our own laws say of drift what the values and scipy say.

Distances from 100 equal-mass bins beside those of the raw values, the population stability index beside its formula,
merged histograms beside that of the union, p-values without scipy beside scipy's.

Run it as `python benchmarks/drift_agreement.py`; prints one JSON line a figure.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), *(str(ROOT / name) for name in ("contract", "numerics"))]

import numpy as np  # noqa: E402 - the paths above come first
from numpy.typing import NDArray  # noqa: E402
from scipy import stats  # noqa: E402
from scipy.spatial.distance import jensenshannon  # noqa: E402
from tests.numerics.drift_shifts import CONCENTRATED, CONTINUOUS, pair  # noqa: E402

from shoal_numerics import (  # noqa: E402
    Histogram,
    HistogramEdges,
    SampleMoments,
    chi_squared_test,
    jensen_shannon_distance,
    kolmogorov_p_value,
    ks_distance,
    ks_resolution,
    mean_shift,
    population_stability_index,
)

ROWS, BINS = 50_000, 100
WINDOWS = (1_000, 50_000)
PARTS = 1_000
ROUNDING = 1e-12
"""What sums of shares lose in double precision."""
MOST_LOST, MOST_PSI, MOST_P, MOST_DISTANCE = 0.01, 1e-9, 1e-3, 1e-7
FEWEST = 40
"""Two samples of so many have the effective size from which the p-value's correction is within a thousandth."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="samples of each shift (default %(default)s)")
    parser.add_argument("--tests", type=int, default=1000, help="samples behind each p-value's line")
    options = parser.parse_args()
    for kind in CONTINUOUS | CONCENTRATED:
        distance(kind, options.rounds)
    index(options.rounds)
    union()
    laws = (("ks", kolmogorov), ("chi_squared", categories), ("welch", means))
    for place, (name, law) in enumerate(laws):
        apart = list(law(np.random.default_rng(place), options.tests))
        tell(f"{name}_p_value", max(apart), PEERS[name], len(apart), MOST_P)
    apart = list(jensen_shannon(np.random.default_rng(9), options.tests))
    tell("jensen_shannon_distance", max(apart), PEERS["jensen_shannon"], len(apart), MOST_DISTANCE)


PEERS = {
    "ks": "scipy.stats.ks_2samp, asymptotic",
    "chi_squared": "scipy.stats.chi2_contingency, no correction",
    "welch": "scipy.stats.ttest_ind_from_stats, unequal variances",
    "jensen_shannon": "scipy.spatial.distance.jensenshannon, base 2",
}


def distance(kind: str, rounds: int) -> None:
    """Print the most that the binned distance of one shift is below the raw values' one."""
    found = []
    for seed, window in product(range(rounds), WINDOWS):
        reference, values = pair(kind, ROWS, window, seed)
        edges = HistogramEdges.equal_mass(reference, BINS)
        first, second = Histogram.of(edges, reference), Histogram.of(edges, values)
        raw = float(stats.ks_2samp(reference, values, method="asymp").statistic)
        binned, floor = float(ks_distance(first, second)[0]), float(ks_resolution(first, second)[0])
        found.append((raw - binned, floor, int(first.counts.max()) / ROWS, raw, binned))
    is_within = all(
        -ROUNDING <= lost <= floor + ROUNDING and floor <= largest + ROUNDING for lost, floor, largest, *_ in found
    )
    worst, goal = max(found), "<= the resolution told, and that <= the reference's largest bin"
    if kind in CONTINUOUS:
        goal, is_within = f"<= {MOST_LOST}, {goal}", is_within and worst[0] <= MOST_LOST + ROUNDING
    names = ("resolution", "largest_bin", "raw", "binned")
    extra = {name: round(value, 5) for name, value in zip(names, worst[1:], strict=True)}
    peer = "scipy.stats.ks_2samp on the raw values"
    tell(f"ks_lost_{kind}", worst[0], peer, len(found), goal, holds=is_within, extra=extra)


def index(rounds: int) -> None:
    """Print the most that the index of 100 bins is off the formula over the reference's deciles."""
    apart = []
    for kind, seed, window in product(CONTINUOUS, range(rounds), WINDOWS):
        reference, values = pair(kind, ROWS, window, seed)
        edges = HistogramEdges.equal_mass(reference, BINS)
        found = population_stability_index(Histogram.of(edges, reference), Histogram.of(edges, values))[0]
        apart.append(abs(float(found) - index_by_formula(reference, values)))
    tell("psi", max(apart), "the formula over raw values", len(apart), MOST_PSI)


def index_by_formula(reference: NDArray[np.float32], values: NDArray[np.float32]) -> float:
    """Return Σ (a - e) ln(a / e) over the reference's ten deciles, shares of zero set to 0.0001."""
    deciles = np.quantile(reference, np.arange(1, 10) / 10, method="inverted_cdf")
    e, a = (
        np.bincount(np.searchsorted(deciles, each, side="left"), minlength=10) / len(each)
        for each in (reference, values)
    )
    e, a = np.where(e == 0, 0.0001, e), np.where(a == 0, 0.0001, a)
    return float(((a - e) * np.log(a / e)).sum())


def union() -> None:
    """Print in how many counts the merge of PARTS histograms differs from the histogram of all rows."""
    differing, kinds = 0, CONTINUOUS | CONCENTRATED
    for seed, kind in enumerate(kinds):
        random = np.random.default_rng(seed)
        reference, values = pair(kind, ROWS, ROWS, seed)
        values[random.random(ROWS) < 0.01] = np.nan  # noqa: PLR2004 - one in a hundred is missing
        edges = HistogramEdges.equal_mass(reference, BINS)
        parts = [Histogram.of(edges, part) for part in np.split(values, np.sort(random.integers(0, ROWS, PARTS - 1)))]
        merged = Histogram.empty(edges)
        for place in random.permutation(PARTS):
            merged = merged.merge(parts[place])
        whole = Histogram.of(edges, values)
        differing += int((merged.counts != whole.counts).sum() + (merged.missing != whole.missing).sum())
    tell(f"merge_of_{PARTS}", differing, "the histogram of the union", len(kinds), 0.0, unit="counts that differ")


def kolmogorov(random: np.random.Generator, tests: int) -> Iterator[float]:
    """Yield how far p-values are apart, of two samples of one even size: scipy rounds the effective size of others."""
    for _ in range(tests):
        size = 2 * int(random.integers(FEWEST // 2, 1000))
        first, second = random.standard_normal(size), random.standard_normal(size) + random.uniform(0, 4) / size**0.5
        theirs = stats.ks_2samp(first, second, method="asymp")
        ours = kolmogorov_p_value(np.array([theirs.statistic]), np.array([size]), np.array([size]))
        yield abs(float(ours[0]) - float(theirs.pvalue))


def categories(random: np.random.Generator, tests: int) -> Iterator[float]:
    """Yield how far p-values are apart, of 2 to 60 categories."""
    for _ in range(tests):
        count = int(random.integers(2, 61))
        shares = random.dirichlet(np.ones(count))
        moved = random.dirichlet(shares * 10 ** random.uniform(1, 4) + 0.01)
        table = np.stack([random.multinomial(5000, shares), random.multinomial(300, moved)])
        table = table[:, table.sum(axis=0) > 0]
        theirs = stats.chi2_contingency(table, correction=False)
        yield abs(chi_squared_test(table[0], table[1], least_expected=0).p_value - float(theirs.pvalue))


def means(random: np.random.Generator, tests: int) -> Iterator[float]:
    """Yield how far p-values are apart, of 7 to 2,000 values with means up to 5 standard errors apart."""
    for _ in range(tests):
        n, m = np.exp(random.uniform(np.log(7), np.log(2000), 2)).astype(int)
        sd, other = 10 ** random.uniform(-2, 2, 2)
        mean = random.uniform(-5, 5) * np.sqrt(sd**2 / n + other**2 / m)
        theirs = stats.ttest_ind_from_stats(mean, other, m, 0.0, sd, n, equal_var=False)
        first, second = (
            SampleMoments(np.array([float(count)]), np.array([middle]), np.array([deviation**2]))
            for count, middle, deviation in ((n, 0.0, sd), (m, mean, other))
        )
        yield abs(float(mean_shift(first, second).p_value[0]) - float(theirs.pvalue))


def jensen_shannon(random: np.random.Generator, tests: int) -> Iterator[float]:
    """Yield how far distances are apart, of 2 to 100 bins."""
    for _ in range(tests):
        first, second = random.poisson(10 ** random.uniform(-1, 3, (2, int(random.integers(2, 101)))))
        first[0], second[-1] = 1, 1
        yield abs(float(jensen_shannon_distance(first, second)) - float(jensenshannon(first, second, base=2)))


def tell(
    name: str,
    ours: float,
    peer_name: str,
    n: int,
    goal: float | str,
    *,
    holds: bool | None = None,
    unit: str = "largest difference",
    extra: dict[str, float] | None = None,
) -> None:
    """Print one line: `ours` is the difference from the peer, so that neither its value nor a ratio stands there."""
    if isinstance(goal, float):
        holds = ours <= goal
        goal = f"<= {goal:g}"
    line = {
        "name": name,
        "unit": unit,
        "ours": float(f"{ours:.3g}"),
        "peer": 0.0,
        "peer_name": peer_name,
        "ratio": None,
    }
    print(json.dumps({**line, "n": n, "goal": goal, "holds": holds, **(extra or {})}), flush=True)


if __name__ == "__main__":
    main()
