"""Evidence of drift: never much where nothing has moved beyond the tolerance, soon where it has, at any time."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from shoal_numerics import DriftError, Histogram, HistogramEdges
from shoal_numerics.drift_evidence import STAKES, DriftEvidence, EvidenceSettings
from shoal_numerics.e_values import e_benjamini_hochberg
from shoal_numerics.watched_shares import Shares, WatchedShares

Array = NDArray[np.float64]
VALUES = 40
FEATURES = 30
REFERENCE = 5000


class Streams:
    """Many streams of standard normal features at once, each an own feature of one evidence."""

    def __init__(self, streams: int, settings: EvidenceSettings | None = None, seed: int = 5) -> None:
        self.random = np.random.default_rng(seed)
        self.shape = (streams, FEATURES)
        rows = self.random.standard_normal((REFERENCE, streams * FEATURES), dtype=np.float32)
        edges = HistogramEdges.equal_mass(rows, bins=20)
        self.watched = WatchedShares.of(Histogram.of(edges, rows))
        flat = np.where(self.watched.is_missing, 0, self.watched.stop - self.watched.feature - 1)
        self.limit = edges.values[np.clip(flat, 0, None)].astype(np.float64)
        self.evidence = DriftEvidence(self.watched, settings)
        self.last = self.random.standard_normal(streams * FEATURES)

    def run(self, windows: int, *, shift: Array | float = 0.0, memory: float = 0.0) -> NDArray[np.bool_]:
        """Go on; return which features have ever been rejected, (streams, features) bool."""
        ever = np.zeros(self.shape, dtype=np.bool_)
        for _ in range(windows):
            values = np.empty((VALUES, self.last.size))
            for row in values:
                fresh = self.random.standard_normal(self.last.size)
                self.last = memory * self.last + math.sqrt(1 - memory**2) * fresh
                row[:] = self.last + shift
            share = (values[:, self.watched.feature] <= self.limit).mean(axis=0)
            share[self.watched.is_missing] = 0.0
            self.evidence.add_shares(Shares(share, np.full(len(share), VALUES)))
            found = self.evidence.values().reshape(self.shape)
            ever |= np.array([e_benjamini_hochberg(one, 0.05) for one in found])
        return ever


def of_three(by: float, streams: int) -> Array:
    """Return a shift of the first three features of each stream."""
    return np.where(np.arange(streams * FEATURES) % FEATURES < 3, by, 0.0)


@pytest.mark.parametrize("is_recentred", [False, True])
@pytest.mark.parametrize("windows", [1, 20, 33, 70])
def test_evidence_that_was_written_down_goes_on_as_if_nothing_had_been(windows: int, *, is_recentred: bool) -> None:
    settings = EvidenceSettings(is_recentred=is_recentred, warm_up_windows=24)
    streams = Streams(1, settings)
    streams.run(windows, shift=of_three(0.8, 1))
    again = DriftEvidence.load(streams.watched, settings, streams.evidence.dump())
    assert again.windows == windows
    random = np.random.default_rng(1)
    for _ in range(40):
        shares = Shares(random.random(len(streams.watched.feature)), np.full(len(streams.watched.feature), VALUES))
        streams.evidence.add_shares(shares)
        again.add_shares(shares)
    assert np.array_equal(again.values(), streams.evidence.values())
    assert again.dump() == streams.evidence.dump()


def test_evidence_of_other_shares_or_with_numbers_that_none_has_is_refused() -> None:
    streams = Streams(1)
    streams.run(50)
    state = streams.evidence.dump()
    for bad in (b"", state[:-1], state + b"x", state[:8] + b"\xff" * (len(state) - 8)):
        with pytest.raises(DriftError, match="Reading drift evidence"):
            DriftEvidence.load(streams.watched, EvidenceSettings(), bad)
    with pytest.raises(DriftError, match="Reading drift evidence"):
        DriftEvidence.load(streams.watched, EvidenceSettings(is_recentred=True), state)


@pytest.mark.parametrize("memory", [0.0, 0.5, 0.9])
def test_streams_that_do_not_move_raise_nothing(memory: float) -> None:
    assert not Streams(8).run(300, memory=memory).any()


def test_an_offset_within_the_tolerance_raises_nothing() -> None:
    signs = np.random.default_rng(1).choice([-1, 1], 8 * FEATURES)
    assert not Streams(8).run(300, shift=0.12 * signs).any()  # a distance of 0.048


def test_windows_that_vary_together_would_raise_much_if_it_were_not_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DriftEvidence, "_learned", lambda self: np.ones(self._pools))
    assert Streams(8).run(100, memory=0.95).any(axis=1).all()


@pytest.mark.parametrize("stable", [0, 40, 300])
def test_a_shift_is_found_in_the_features_that_moved_and_in_no_other(stable: int) -> None:
    streams = Streams(4)
    assert not streams.run(stable).any()
    found = streams.run(60, shift=of_three(1.0, 4))
    assert found[:, :3].all()
    assert not found[:, 3:].any()


def test_a_long_time_of_peace_costs_little_power() -> None:
    streams = Streams(2)
    streams.run(1500)
    assert streams.run(14, shift=of_three(1.0, 2))[:, :3].all()


def test_evidence_goes_when_the_data_comes_back() -> None:
    streams = Streams(2)
    streams.run(60)
    assert streams.run(30, shift=of_three(1.0, 2)).any()
    streams.run(60)
    assert not e_benjamini_hochberg(streams.evidence.values(), 0.05).any()


def test_a_recentred_device_is_held_against_its_own_beginning() -> None:
    shift = of_three(0.5, 4)
    assert Streams(4).run(120, shift=shift)[:, :3].all()
    streams = Streams(4, EvidenceSettings(is_recentred=True))
    assert not streams.run(120, shift=shift).any()
    assert streams.run(60, shift=3 * shift)[:, :3].all()


@given(st.floats(0.02, 0.95), st.floats(0.0, 1.0), st.sampled_from(STAKES), st.integers(1, 60), st.floats(0.01, 0.3))
def test_no_bet_gains_on_average_where_the_share_is_within_its_bound(
    expected: float, place: float, stake: float, values: int, tolerance: float
) -> None:
    one = WatchedShares(*(1, *(np.array([n]) for n in (0, 0, 1)), np.array([expected]), np.array([10**12])))
    evidence = DriftEvidence(one, EvidenceSettings(tolerance=tolerance))
    low, high = max(expected - tolerance, 0.0), min(expected + tolerance, 1.0)
    true = low + place * (high - low)
    counts = np.arange(values + 1)
    log_chance = np.array([math.lgamma(values + 1) - math.lgamma(n + 1) - math.lgamma(values - n + 1) for n in counts])
    with np.errstate(divide="ignore", invalid="ignore"):
        log_chance += np.nan_to_num(counts * np.log(true), nan=0.0) + np.nan_to_num(
            (values - counts) * np.log1p(-true), nan=0.0
        )
    for (won, lost), seen in zip(evidence._odds, (counts, values - counts), strict=True):
        factor = np.exp(
            log_chance + seen * won[STAKES.index(stake), 0] + (values - seen) * lost[STAKES.index(stake), 0]
        )
        assert factor.sum() <= 1 + 1e-4


def test_a_flood_of_missing_values_is_found_and_their_absence_is_not() -> None:
    random = np.random.default_rng(3)
    rows = random.standard_normal((5000, 2)).astype(np.float32)
    rows[::5, 0] = np.nan
    edges = HistogramEdges.equal_mass(rows)
    evidence = DriftEvidence(WatchedShares.of(Histogram.of(edges, rows)))
    for _ in range(100):
        evidence.add(Histogram.of(edges, random.standard_normal((50, 2)).astype(np.float32)))
    assert not e_benjamini_hochberg(evidence.values(), 0.05).any()
    flood = np.full((50, 2), np.nan, dtype=np.float32)
    flood[:, 0] = random.standard_normal(50)
    for _ in range(8):
        evidence.add(Histogram.of(edges, flood))
    assert e_benjamini_hochberg(evidence.values(), 0.05).tolist() == [False, True]


def test_a_window_without_rows_changes_nothing() -> None:
    rows = np.arange(100, dtype=np.float32)
    edges = HistogramEdges.equal_mass(rows)
    evidence = DriftEvidence(WatchedShares.of(Histogram.of(edges, rows)))
    evidence.add(Histogram.empty(edges))
    assert evidence.windows == 0


@pytest.mark.parametrize(
    "settings",
    [{"tolerance": 0.0}, {"tolerance": 0.5}, {"reference_z": -1.0}, {"warm_up_windows": 15}, {"tolerance": math.nan}],
)
def test_settings_out_of_their_range_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(DriftError, match="Setting drift evidence"):
        EvidenceSettings(**settings)


def test_one_window_that_repeats_one_sample_now_and_then_is_no_drift() -> None:
    random = np.random.default_rng(11)
    rows = random.standard_normal((5000, 6)).astype(np.float32)
    edges = HistogramEdges.equal_mass(rows)
    evidence = DriftEvidence(WatchedShares.of(Histogram.of(edges, rows)))
    largest = 0.0
    for window in range(600):
        values = random.standard_normal((200, 6)).astype(np.float32)
        if window % 150 == 149:
            values[:] = values[0]
        evidence.add(Histogram.of(edges, values))
        largest = max(largest, evidence.values().max())
    assert largest < 20


def test_windows_that_grow_with_what_they_vary_together_by_are_no_drift() -> None:
    random = np.random.default_rng(12)
    rows = random.standard_normal((5000, 6)).astype(np.float32)
    edges = HistogramEdges.equal_mass(rows)
    evidence = DriftEvidence(WatchedShares.of(Histogram.of(edges, rows)))
    for window in range(200):
        together = 0.15 * random.standard_normal(6)
        values = math.sqrt(1 - 0.15**2) * random.standard_normal((20 if window < 150 else 5000, 6)) + together
        evidence.add(Histogram.of(edges, values.astype(np.float32)))
        assert not e_benjamini_hochberg(evidence.values(), 0.05).any()


def test_fewer_missing_values_keep_no_evidence_alive() -> None:
    random = np.random.default_rng(13)
    rows = random.standard_normal((5000, 1)).astype(np.float32)
    rows[::5] = np.nan
    edges = HistogramEdges.equal_mass(rows)
    evidence = DriftEvidence(WatchedShares.of(Histogram.of(edges, rows)))
    for window in range(260):
        shift = 1.5 if 60 <= window < 120 else 0.0
        evidence.add(Histogram.of(edges, (random.standard_normal((50, 1)) + shift).astype(np.float32)))
        if window == 119:
            assert evidence.values()[0] > 1e4
    assert evidence.values()[0] < 20


def test_a_feature_that_was_missing_while_the_device_was_learned_is_held_against_the_reference() -> None:
    random = np.random.default_rng(14)
    rows = random.standard_normal((5000, 1)).astype(np.float32)
    edges = HistogramEdges.equal_mass(rows)
    evidence = DriftEvidence(WatchedShares.of(Histogram.of(edges, rows)), EvidenceSettings(is_recentred=True))
    for window in range(120):
        values = random.standard_normal((50, 1)) if window >= 32 else np.full((50, 1), np.nan)
        evidence.add(Histogram.of(edges, values.astype(np.float32)))
    assert evidence.values()[0] < 20


@pytest.mark.parametrize("value", [7.0, 60.0])
def test_unknown_and_rare_categories_are_found(value: float) -> None:
    random = np.random.default_rng(15)
    edges = HistogramEdges.from_lists([(np.arange(51) + 9.5).tolist()])
    rows = random.integers(10, 60, 5000).astype(np.float32)
    evidence = DriftEvidence(WatchedShares.of(Histogram.of(edges, rows), categorical=[0]))
    for _ in range(60):
        evidence.add(Histogram.of(edges, random.integers(10, 60, 50).astype(np.float32)))
    assert evidence.values()[0] < 20
    for _ in range(20):
        evidence.add(Histogram.of(edges, np.full(50, value, dtype=np.float32)))
    assert evidence.values()[0] > 1000


def test_memory_is_bounded_a_feature() -> None:
    rows = np.random.default_rng(16).standard_normal((1000, 100)).astype(np.float32)
    edges = HistogramEdges.equal_mass(rows)
    evidence = DriftEvidence(WatchedShares.of(Histogram.of(edges, rows)))
    before = evidence.nbytes
    for _ in range(40):
        evidence.add(Histogram.of(edges, rows[:50]))
    assert evidence.nbytes <= before + 100 * 16 * 2
    assert before <= 1_750 * 100
