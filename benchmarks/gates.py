"""How often a gate aborts rightly and wrongly, on simulated rollouts whose truth is known.

Ours is the verdict of `shoal_numerics.gates` on the error rate, looked at after each window. Beside it, on the same
data: a fixed threshold (abort where canaries' error rate is more than one point above the controls'), as rollout tools
have it, and a test that takes requests for independent, once at the end and at each window.

Run it as `python benchmarks/gates.py`.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), *(str(ROOT / name) for name in ("contract", "numerics"))]

import numpy as np  # noqa: E402 - the paths above come first
from numpy.typing import NDArray  # noqa: E402
from tests.simulators.gated_traffic import Traffic, looks  # noqa: E402

from shoal_numerics import (  # noqa: E402
    AlphaBudget,
    DeviceTotals,
    DifferenceLimit,
    Evidence,
    GateMetric,
    Levels,
    evaluate_gate,
    evaluate_metric,
)
from shoal_numerics.device_comparison import compare  # noqa: E402
from shoal_numerics.effect_bounds import effect_bounds  # noqa: E402
from shoal_numerics.student_t import MIN_DEGREES  # noqa: E402

ALPHA = 0.05
POWER = 0.95
MAX_PREDICTIONS = 7_500
FIXED_SAMPLE = 3_660
"""Predictions an arm of a test that looks once and has one device's noise: 5 % to 7 %, two-sided 5 %, power 95 %."""
OLD, REGRESSED = 0.05, 0.07
METRIC = GateMetric("error_rate", "share", margin=0.01)
"""Half of the regression: one as large as the margin itself may be advanced with probability ALPHA."""
LIMIT = DifferenceLimit(max_difference=0.01, min_samples=500)
REQUEST_Z = 1.645
"""One-sided 5 %."""
DEVICE_SDS = (0.0, 0.3, 0.5)
ALONE = Levels(abort=ALPHA, advance=ALPHA)
"""The error rate is the rollout's only metric, in its only gate."""
THRESHOLD = "fixed threshold of 1 point, each window"
AT_ONCE = 250
RULES = ("ours", "threshold", "requests")
CHECKED = 3


@dataclass(frozen=True)
class Outcome:
    """What became of many rollouts of one kind; arrays are of (rollouts,).

    Attributes:
        ours: look of the first abort, from 0; infinite without one. Looks go on after an advance.
        advanced: look of the first advance.
        threshold: look of the first abort by the fixed threshold.
        requests: look of the first abort by the test on requests.
        requests_at_end: bool, whether that test aborts if it looks once, at the end.
        predictions: (looks,) mean number an arm so far.
    """

    ours: NDArray[np.float64]
    advanced: NDArray[np.float64]
    threshold: NDArray[np.float64]
    requests: NDArray[np.float64]
    requests_at_end: NDArray[np.bool_]
    predictions: NDArray[np.float64]

    def power_within(self, predictions: float) -> float:
        """Return the share that has aborted by so many predictions an arm, and had not advanced before."""
        looks_within = np.searchsorted(self.predictions, predictions * 1.001)
        return float(((self.ours < looks_within) & (self.ours < self.advanced)).mean())

    def needed(self, verdict: NDArray[np.float64]) -> int | None:
        """Return the predictions an arm by which POWER of the rollouts have this verdict; None if none here suffice."""
        look = float(np.quantile(verdict, POWER, method="inverted_cdf"))
        return round(float(self.predictions[int(look)])) if math.isfinite(look) else None


def run(traffic: Traffic, rollouts: int, levels: Levels, seed: int = 1) -> Outcome:
    """Simulate the rollouts, some at once, and put them together."""
    parts = [
        _run(traffic, min(AT_ONCE, rollouts - start), levels, seed * 1_000_003 + start)
        for start in range(0, rollouts, AT_ONCE)
    ]
    names = ("ours", "advanced", "threshold", "requests", "requests_at_end")
    joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    return Outcome(**joined, predictions=np.mean([part.predictions for part in parts], axis=0))


def _run(traffic: Traffic, rollouts: int, levels: Levels, seed: int) -> Outcome:
    first = {name: np.full(rollouts, math.inf) for name in (*RULES, "advanced")}
    at_end, predictions = np.zeros(rollouts, dtype=np.bool_), []
    for look, evidence in enumerate(looks(traffic, rollouts, seed)):
        found = judged(evidence, levels)
        for name, is_so in found.items():
            first[name] = np.minimum(first[name], np.where(is_so, look, math.inf))
        at_end = found["requests"]
        predictions.append(evidence.after.weight[:, evidence.is_canary].sum(axis=-1).mean())
    _check_singly(evidence, levels, found)
    return Outcome(**first, requests_at_end=at_end, predictions=np.array(predictions))


def judged(evidence: Evidence, levels: Levels) -> dict[str, NDArray[np.bool_]]:
    """Return which of many rollouts each rule aborts now, and which ours lets advance; (rollouts,) bool each."""
    arms = [evidence.is_canary, ~evidence.is_canary]
    requests = np.stack([evidence.after.weight[:, arm].sum(axis=-1) for arm in arms])
    errors = np.stack([evidence.after.numerator[:, arm].sum(axis=-1) for arm in arms])
    devices = np.stack([np.count_nonzero(evidence.after.weight[:, arm], axis=-1) for arm in arms])
    comparison = compare(evidence, METRIC.kind, METRIC.max_device_share)
    bounds = effect_bounds(METRIC, comparison, levels)
    is_tested = (devices.min(axis=0) >= METRIC.min_devices) & (requests.min(axis=0) >= METRIC.min_samples)
    is_tested &= comparison.degrees >= MIN_DEGREES
    difference = errors[0] / requests[0] - errors[1] / requests[1]
    pooled = errors.sum(axis=0) / requests.sum(axis=0)
    error = np.sqrt(pooled * (1 - pooled) * (1 / requests).sum(axis=0))
    return {
        "ours": is_tested & bounds.is_harm,
        "advanced": is_tested & ~bounds.is_harm & bounds.is_ruled_out,
        "threshold": (requests.min(axis=0) >= LIMIT.min_samples) & (difference > LIMIT.max_difference),
        "requests": (requests.min(axis=0) >= METRIC.min_samples) & (difference > REQUEST_Z * error),
    }


def _check_singly(evidence: Evidence, levels: Levels, found: dict[str, NDArray[np.bool_]]) -> None:
    """Assert that the library's own verdicts on single rollouts are those counted here."""
    for row in range(min(CHECKED, len(found["ours"]))):
        before, after = (
            DeviceTotals(part.numerator[row], part.weight[row]) for part in (evidence.before, evidence.after)
        )
        one = Evidence(before, after, evidence.is_canary)
        verdict = evaluate_metric(METRIC, one, levels).verdict
        assert (verdict == "abort", verdict == "advance") == (found["ours"][row], found["advanced"][row])
        assert (LIMIT.check(one).verdict == "abort") == found["threshold"][row]


def false_aborts(rollouts: int, fleet: Traffic) -> None:
    """Print how often rules abort a version that is as good as the old one."""
    for traffic in kinds(fleet):
        found = run(traffic, rollouts, ALONE)
        ours = share(found.ours)
        peers = {
            THRESHOLD: share(found.threshold),
            "test on requests, once": float(found.requests_at_end.mean()),
            "test on requests, each window": share(found.requests),
        }
        for peer_name, peer in peers.items():
            name = f"false_aborts_{label(traffic)}"
            report(name, ours, peer, peer_name, rollouts, f"<= {ALPHA}", ours <= ALPHA)


def odd_false_aborts(rollouts: int) -> None:
    """Print the same for fleets that keep less to what the bounds assume, over 100 looks."""
    base = Traffic(windows=100, device_sd=0.3)
    odd = {
        "uneven_requests": replace(base, requests_spread=1.5),
        "wandering": replace(base, wander_sd=0.5),
        "own_hours": replace(base, has_day=True, has_own_hours=True),
        "bursts": replace(base, burst_sd=1.0),
        "rare_errors": replace(base, rate=0.002, new_rate=0.002),
        "10_against_100": replace(base, canaries=10, controls=100),
        "unknown_before": replace(base, before_windows=0),
    }
    for name, traffic in odd.items():
        found = run(traffic, rollouts, ALONE)
        ours, peer = share(found.ours), share(found.threshold)
        report(f"false_aborts_{name}", ours, peer, THRESHOLD, rollouts, f"<= {ALPHA}", ours <= ALPHA)


def power(rollouts: int, fleet: Traffic) -> None:
    """Print how often a known regression aborts within MAX_PREDICTIONS an arm.

    Where devices differ, what the same power takes is the goal: `needs` tells it.
    """
    for traffic in kinds(replace(fleet, new_rate=REGRESSED)):
        found = run(traffic, rollouts, ALONE)
        ours, peer = found.power_within(MAX_PREDICTIONS), share(found.threshold)
        goal = f">= {POWER} within {MAX_PREDICTIONS} predictions an arm"
        median = float(np.median(found.ours))
        extra = {
            "median_predictions": round(float(found.predictions[int(median)])) if math.isfinite(median) else None,
            "fixed_sample_test_needs": FIXED_SAMPLE,
        }
        is_goal = traffic.device_sd == 0
        told = goal if is_goal else f"told by power_needs_sd{traffic.device_sd}_day"
        name = f"power_{label(traffic)}"
        report(name, ours, peer, THRESHOLD, rollouts, told, ours >= POWER if is_goal else None, extra)


def false_advances(rollouts: int) -> None:
    """Print how often a version is let through that is worse by just the margin, in 10,000 predictions an arm."""
    for traffic in kinds(Traffic(new_rate=OLD + METRIC.margin)):
        wrong = share(run(traffic, rollouts, ALONE).advanced)
        name = f"false_advances_{label(traffic)}"
        report(name, wrong, None, "none", rollouts, f"<= {ALPHA}", wrong <= ALPHA)


def needs(rollouts: int) -> None:
    """Print what the same power takes where devices differ, and how long a good version takes to advance.

    The devices and the predictions are found on one lot of rollouts, and have to hold on another.
    """
    for sd in DEVICE_SDS:
        base = Traffic(requests=20, windows=200, device_sd=sd, has_day=True)
        worse = replace(base, new_rate=REGRESSED, windows=100)
        found = run(worse, rollouts, ALONE)
        predictions = found.needed(np.where(found.ours < found.advanced, found.ours, math.inf))
        devices = devices_needed(rollouts, sd)
        by_devices = power_of(devices, rollouts, sd, seed=2)
        by_predictions = run(worse, rollouts, ALONE, seed=2).power_within(predictions or 0)
        confirmed = {
            "power_of_these_devices": by_devices,
            "predictions_an_arm_of_20+20": predictions,
            "power_of_these_predictions": by_predictions,
        }
        holds = min(by_devices, by_predictions) >= POWER
        name, goal = f"power_needs_sd{sd}_day", f">= {POWER} by both, on other rollouts"
        unit = f"devices an arm, for {MAX_PREDICTIONS} predictions an arm"
        tell(name, unit, devices, rollouts, goal, holds=holds, extra=confirmed)
        good = run(base, rollouts, ALONE)
        tell(f"predictions_to_advance_20+20_sd{sd}_day", "predictions an arm", good.needed(good.advanced), rollouts)


def devices_needed(rollouts: int, sd: float) -> int:
    """Return the fewest devices an arm, to within a twentieth, that have POWER within MAX_PREDICTIONS an arm.

    One standard error more is asked for: what was chosen for its power on some rollouts has less of it on others.
    """
    least = POWER + math.sqrt(POWER * (1 - POWER) / rollouts)
    few, enough = METRIC.min_devices - 1, 640
    while enough - few > max(1, few // 20):
        devices = (few + enough) // 2
        few, enough = (few, devices) if power_of(devices, rollouts, sd) >= least else (devices, enough)
    return enough


def power_of(devices: int, rollouts: int, sd: float, seed: int = 1) -> float:
    """Return the power of so many devices an arm that differ, with a day cycle, within MAX_PREDICTIONS an arm."""
    traffic = replace(fleet_of(devices), new_rate=REGRESSED, device_sd=sd, has_day=True)
    return run(traffic, rollouts, ALONE, seed).power_within(MAX_PREDICTIONS)


def one_budget(rollouts: int) -> None:
    """Print power and false aborts where the error rate is one of eight metrics of one budget."""
    others = tuple((f"other_{number}", 1.0) for number in range(7))
    goal = f">= {POWER} within {MAX_PREDICTIONS} predictions an arm"
    for weight, part in ((1.0, "eighth"), (7.0, "half")):
        levels = AlphaBudget(ALPHA, (("error_rate", weight), *others)).levels("error_rate", 0)
        for devices in (20, 100):
            found = run(replace(fleet_of(devices), new_rate=REGRESSED, windows=50), rollouts, levels)
            ours = found.power_within(MAX_PREDICTIONS)
            name = f"power_with_{part}_of_alpha_{devices}+{devices}"
            extra = {"predictions_needed": found.needed(found.ours)}
            report(name, ours, None, "none", rollouts, goal, ours >= POWER, extra)
    levels = AlphaBudget(ALPHA, (("error_rate", 1.0), *others)).levels("error_rate", 0)
    quiet = [run(Traffic(device_sd=0.5, has_day=True), rollouts, levels, seed) for seed in range(2, 10)]
    any_of_them = share(np.min([found.ours for found in quiet], axis=0))
    name = "false_aborts_by_any_of_eight_metrics_20+20x500_sd0.5_day"
    report(name, any_of_them, None, "none", rollouts, f"<= {ALPHA}", any_of_them <= ALPHA)


def speed() -> None:
    """Print how long one evaluation of a large rollout takes."""
    devices, names = 100_000, tuple(f"metric_{number}" for number in range(8))
    random = np.random.default_rng(1)
    is_canary = random.random(devices) < 0.1  # noqa: PLR2004 - a tenth are canaries
    metrics = [GateMetric(name, "share", margin=0.01) for name in names]
    evidence = [(metric, Evidence(some(random, devices), some(random, devices), is_canary)) for metric in metrics]
    budget, times = AlphaBudget.even(ALPHA, names, waves=4), []
    for _ in range(7):
        began_s = time.perf_counter()
        evaluate_gate(evidence, budget, 0)
        times.append(time.perf_counter() - began_s)
    taken_s = float(np.median(times))
    tell("evaluate_100000_devices_8_metrics", "s", round(taken_s, 4), len(times), "<= 1.0", holds=taken_s <= 1.0)


def some(random: np.random.Generator, devices: int) -> DeviceTotals:
    """Return totals of devices that differ."""
    requests = random.poisson(200, devices)
    return DeviceTotals(random.binomial(requests, random.beta(5, 95, devices)).astype(float), requests.astype(float))


def share(first: NDArray[np.float64]) -> float:
    """Return the share of rollouts in which something ever happened."""
    return float(np.isfinite(first).mean())


def kinds(fleet: Traffic) -> list[Traffic]:
    """Return the fleet with each difference of devices, without and with a day cycle."""
    return [replace(fleet, device_sd=sd, has_day=has_day) for sd in DEVICE_SDS for has_day in (False, True)]


def fleet_of(devices: int) -> Traffic:
    """Return the traffic that gives MAX_PREDICTIONS to so many devices an arm, in 25 windows."""
    return Traffic(devices, devices, MAX_PREDICTIONS / devices / 25, 25)


def label(traffic: Traffic) -> str:
    """Name a kind of rollout: devices, requests a device, devices' differences, day cycle."""
    requests = round(traffic.requests * traffic.windows)
    day = "_day" if traffic.has_day else ""
    return f"{traffic.canaries}+{traffic.controls}x{requests}_sd{traffic.device_sd}{day}"


def report(
    name: str,
    ours: float,
    peer: float | None,
    peer_name: str,
    n: int,
    goal: str,
    holds: bool | None,
    extra: Mapping[str, float | None] | None = None,
) -> None:
    """Print one line of shares of rollouts; the ratio is ours over the peer's for power, the peer's over ours else."""
    line = {"name": name, "unit": "share of rollouts", "ours": ours, "peer": peer, "peer_name": peer_name}
    above, below = (ours, peer) if name.startswith("power") else (peer, ours)
    line["ratio"] = round(above / below, 2) if above is not None and below else None
    print(json.dumps({**line, "n": n, "goal": goal, "holds": holds, **(extra or {})}), flush=True)


def tell(
    name: str,
    unit: str,
    ours: float | None,
    n: int,
    goal: str | None = None,
    *,
    holds: bool | None = None,
    extra: Mapping[str, float | None] | None = None,
) -> None:
    """Print one line that has no peer."""
    line = {"name": name, "unit": unit, "ours": ours, "peer": None, "peer_name": "none", "ratio": None}
    print(json.dumps({**line, "n": n, "goal": goal, "holds": holds, **(extra or {})}), flush=True)


def main() -> None:
    """Print a JSON line for each figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rollouts", type=int, default=2_000, help="simulated rollouts behind each share")
    parser.add_argument("--full", action="store_true", help="also 375 + 375 devices")
    asked = parser.parse_args()
    speed()
    for devices in (20, 100, 375) if asked.full else (20, 100):
        power(asked.rollouts, fleet_of(devices))
        # 500 requests each of 20 + 20 devices, and as many together of more.
        false_aborts(asked.rollouts, replace(fleet_of(devices), requests=400 / devices))
    false_advances(asked.rollouts)
    odd_false_aborts(asked.rollouts)
    one_budget(asked.rollouts)
    needs(asked.rollouts)


if __name__ == "__main__":
    main()
