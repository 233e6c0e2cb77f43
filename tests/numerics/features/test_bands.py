"""Band power is the periodogram's, summed over the band, whatever arrives in which order."""

import numpy as np
import pytest

from shoal_contract.features import CountWindow, Feature, FeatureDefinition, TimeWindow
from shoal_numerics import FeatureError
from shoal_numerics.features import FeatureWindows

scipy_signal = pytest.importorskip("scipy.signal")
HERTZ = 1000.0
BANDS = {"low": (0.0, 100.0), "middle": (100.0, 300.0), "high": (300.0, 500.0)}


def wanted(window: TimeWindow | CountWindow) -> FeatureDefinition:
    features = {
        name: Feature(aggregate="band_power", field="x", low_hz=low, high_hz=high)
        for name, (low, high) in BANDS.items()
    }
    return FeatureDefinition(window=window, features=features, sampling_hz=HERTZ)


def signal(count: int) -> np.ndarray:
    at_s = np.arange(count) / HERTZ
    noise = np.random.default_rng(3).normal(size=count)
    return 5 + 2 * np.sin(2 * np.pi * 50 * at_s) + np.sin(2 * np.pi * 200 * at_s) + 0.1 * noise


def expected(values: np.ndarray) -> list[float]:
    frequencies, density = scipy_signal.periodogram(values, HERTZ, window="hann", detrend="constant")
    step = HERTZ / len(values)
    bands = sorted(BANDS.items())
    return [float(density[(frequencies >= low) & (frequencies < high)].sum() * step) for _, (low, high) in bands]


@pytest.mark.parametrize("count", [64, 100, 250])
def test_power_is_that_of_a_periodogram(count: int) -> None:
    values = signal(count)
    windows = FeatureWindows(wanted(CountWindow(size=count, every=count)))
    found = windows.add(["a"] * count, np.arange(count), values)
    np.testing.assert_allclose(found.values, [expected(values)], rtol=1e-9)


def test_a_sine_has_half_the_square_of_its_amplitude_in_its_band() -> None:
    windows = FeatureWindows(wanted(CountWindow(size=1000, every=1000)))
    found = windows.add(["a"] * 1000, np.arange(1000), signal(1000))
    low, middle = (found.values[0, windows.plan.names.index(name)] for name in ("low", "middle"))
    assert (low, middle) == (pytest.approx(2.0, rel=0.01), pytest.approx(0.5, rel=0.05))


def test_samples_lie_where_their_time_says_though_they_come_out_of_order_and_in_pieces() -> None:
    values, count = signal(300), 300
    times = (np.arange(count) * 1_000_000).astype(np.int64)
    windows = FeatureWindows(wanted(TimeWindow(size_ms=200, every_ms=100, lateness_ms=100)))
    order = np.arange(count) ^ 1  # neighbours swapped
    rows = []
    for part in np.split(order, [7, 150, 151, 260]):
        found = windows.add(["a"] * len(part), times[part], values[part])
        rows += found.values.tolist()
    rows += windows.advance(400_000_000).values.tolist()
    np.testing.assert_allclose(rows[1:3], [expected(values[:200]), expected(values[100:])], rtol=1e-9)


def test_a_few_lost_samples_are_bridged_and_a_window_with_less_than_half_has_no_power() -> None:
    count, values = 200, signal(200)
    times = np.arange(count) * 1_000_000
    kept = np.arange(count) % 10 != 3
    windows = FeatureWindows(wanted(TimeWindow(size_ms=200, every_ms=200)))
    windows.add(["a"] * int(kept.sum()), times[kept], values[kept])
    windows.add(["b"] * 90, times[:90], values[:90])
    found = windows.advance(200_000_000)
    by_name = dict(zip(found.entities, found.values.tolist(), strict=True))
    low = windows.plan.names.index("low")
    assert by_name["a"][low] == pytest.approx(expected(values)[low], rel=0.05)
    assert np.isnan(by_name["b"]).all()


@pytest.mark.parametrize(("size", "every"), [(2, 1), (200_000, 100_000)])
def test_too_few_or_too_many_samples_are_refused(size: int, every: int) -> None:
    with pytest.raises(FeatureError, match="samples in a step"):
        FeatureWindows(wanted(CountWindow(size=size, every=every)))
