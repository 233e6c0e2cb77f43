"""What a candidate loses on a device, and what a choice makes of it where a device can not tell."""

from typing import Any

import pytest

from shoal_compression.measures import Measures
from shoal_compression.search.candidates import Constraints
from shoal_contract.benchmarks import BenchmarkResult, CandidateMeasured, LatencySpread, Paired
from shoal_contract.reported import Problem
from shoal_hub.compression.figures import MadeFile, base_of, candidates_of, choose_for
from shoal_hub.compression.lost_points import lost_points
from shoal_hub.compression.samples import SourceHere

CRASHED = Problem(code="benchmark", message="the runtime onnxruntime is not installed here", remedy="install it")
HERE = SourceHere(right="1" * 40 + "0" * 10)
NUMBERS = SourceHere(is_numbers=True)


def told(name: str, ms: float = 1.0, **changes: Any) -> CandidateMeasured:
    spread = LatencySpread(p25=ms, p50=ms, p75=ms, p95=ms, runs=50)
    fields = {"name": name, "sha256": "1" * 64, "latency_ms": spread, "samples": 50} | changes
    return CandidateMeasured.model_validate(fields)


def broken(name: str) -> CandidateMeasured:
    return CandidateMeasured(name=name, sha256="1" * 64, problem=CRASHED)


def beside(right: int, first_right: int) -> Paired:
    return Paired(samples=50, right=right, first_right=first_right)


def result(*measured: CandidateMeasured) -> BenchmarkResult:
    return BenchmarkResult(benchmark="b-1", outcome="done", measured=measured)


def file(name: str, drop: float | None = 1.5, **changes: Any) -> MadeFile:
    here = Measures(size_bytes=1000, latency_p50_ms=9.0, energy_mj=5.0)
    fields = {"name": name, "recipe_sha256": name, "sha256": "1" * 64, "runtime": "litert", "here": here}
    return MadeFile.model_validate(fields | {"drop_points": drop} | changes)


def points(*measured: CandidateMeasured, here: SourceHere = HERE) -> float | None:
    return lost_points(measured[-1], result(*measured), here)


def test_points_are_lost_on_samples_that_both_have_answered() -> None:
    """The slow candidate came to the first 20 alone, which are easy: the source has all of these right."""
    paired = Paired(samples=20, right=19, first_right=20)
    slow = told("slow", samples=20, agreed=19, right=19, paired=paired)
    assert points(told("source", right=30, agreed=50), slow) == pytest.approx(5.0)


def test_without_the_source_on_the_device_the_hub_s_counts_on_the_same_samples() -> None:
    small = told("small", samples=45, right=36)
    assert points(broken("source"), small) == pytest.approx(100 * (40 - 36) / 45)
    assert points(broken("source"), small, here=SourceHere()) is None


def test_an_older_agent_s_zero_says_nothing_where_the_source_did_not_run() -> None:
    assert points(broken("source"), told("small", agreed=0)) is None
    assert points(told("other", agreed=50), told("small", agreed=50)) is None, "the first one was not the source"
    assert points(told("source", agreed=50), told("small", agreed=40)) == pytest.approx(20.0)
    old = points(told("source", right=45, agreed=50), told("small", right=40, agreed=44))
    assert old == pytest.approx(10.0)


def test_numbers_lose_by_their_size_and_not_by_their_sign() -> None:
    """A regressor of prices is always positive: its signs always agree."""
    off = told("small", agreed=50, paired=Paired(samples=50, signal=100.0, noise=1.0))
    assert points(told("source", agreed=50), off, here=NUMBERS) == pytest.approx(10.0)
    assert points(told("source", agreed=50), told("small", agreed=50), here=NUMBERS) is None
    assert points(broken("source"), off, here=NUMBERS) is None


def test_what_is_lost_is_found_by_device_and_the_worst_counts() -> None:
    """The source itself is worse on one device than on the other: that is no loss of the candidate's."""
    first = result(
        told("source", right=50), told("small", right=49, paired=Paired(samples=50, right=49, first_right=50))
    )
    other = result(
        told("source", right=40), told("small", right=40, paired=Paired(samples=50, right=40, first_right=40))
    )
    found, _ = candidates_of("pi4", [file("source"), file("small")], {"a": [first], "b": [other]}, source=HERE)
    assert [one.drop_points for one in found] == [0.0, pytest.approx(2.0)]


def test_what_no_device_can_tell_is_unknown_and_the_hub_s_figure_is_held_to_the_bound() -> None:
    results = {"pi": [result(broken("source"), told("small", agreed=0), told("tiny", ms=0.5, agreed=0))]}
    files = [file("source"), file("small", drop=0.2), file("tiny", drop=3.0)]
    base = base_of("pi4", "digits", files, results)
    assert [one.drop_points for one in base.candidates] == [None, None]
    assert base.left_out == {"source": CRASHED.message}
    choice = choose_for(base, Constraints(max_drop=1.0), "latency")
    assert (choice.chosen, choice.assumed) == ("small", {"small": 0.2, "tiny": 3.0})
    assert "could not compare small, tiny with the source: points lost at the hub count" in choice.reason


def test_a_device_that_can_tell_beside_one_that_can_not_does_not_hide_what_is_lost() -> None:
    knows = result(
        told("source", right=50), told("small", right=45, paired=Paired(samples=50, right=45, first_right=50))
    )
    base = base_of("pi4", "digits", [file("small", drop=0.2)], {"a": [knows], "b": [result(told("small"))]})
    assert "Nearest: small for pi4 with 10.00 points lost" in choose_for(base, Constraints(max_drop=1.0), "size").reason


def test_the_hub_s_energy_is_none_of_a_device_s() -> None:
    base = base_of("pi4", "digits", [file("small")], {"pi": [result(told("small", agreed=50))]}, source=HERE)
    assert base.candidates[0].measures.energy_mj is None
    choice = choose_for(base, Constraints(), "energy")
    assert choice.chosen is None
    assert "choosing by energy: nobody has measured it; prefer size or latency" in choice.reason
    assert choose_for(base_of("pi4", "digits", [file("small")], {}), Constraints(), "energy").chosen == "small"
