"""Power in frequency bands of regularly sampled windows.

One-sided periodogram with a Hann window after the mean is taken off (P. Welch, IEEE Trans. Audio Electroacoustics
15(2), 1967, with one segment), summed over a band. In the square of the samples' unit.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from shoal_numerics.features.panes import Floats

MIN_FILLED: Final = 0.5
"""Of the samples of a window; with fewer there is no power to tell of."""


def filled(samples: Floats) -> Floats:
    """Return windows without gaps: a missing sample lies on the line between its neighbours, or is the nearest one.

    Args:
        samples: (w, n, c) float64, NaN where one is missing.

    Returns:
        (w, n, c) float64; NaN throughout a window and field of which less than `MIN_FILLED` is there.
    """
    is_there = ~np.isnan(samples)
    whole: Floats = samples.copy()
    places = np.arange(samples.shape[1])
    for window, field in zip(*np.nonzero(~is_there.all(axis=1)), strict=True):
        there = is_there[window, :, field]
        if there.mean() < MIN_FILLED:
            whole[window, :, field] = np.nan
        else:
            whole[window, :, field] = np.interp(places, places[there], samples[window, there, field])
    return whole


def spectrum(samples: Floats, sampling_hz: float) -> tuple[Floats, Floats]:
    """Return frequencies and the power at each.

    Args:
        samples: (w, n, c) float64 without gaps.
        sampling_hz: The rate at which they were taken.

    Returns:
        Frequencies in Hz, (n // 2 + 1,), and powers, (w, n // 2 + 1, c), which add up to the windows' power.
    """
    count = samples.shape[1]
    taper = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(count) / count)
    centred = samples - samples.mean(axis=1, keepdims=True)
    transformed = np.fft.rfft(centred * taper[:, np.newaxis], axis=1)
    power = (transformed.real**2 + transformed.imag**2) / (count * np.sum(taper**2))
    power[:, 1 : (count + 1) // 2] *= 2  # what a negative frequency carries; neither 0 Hz nor half the rate has one
    frequencies: Floats = np.fft.rfftfreq(count, 1 / sampling_hz).astype(np.float64)
    return frequencies, power


def band_power(frequencies: Floats, power: Floats, low_hz: float, high_hz: float) -> Floats:
    """Return the power from `low_hz` on and below `high_hz`, (w, c), of what `spectrum` gave."""
    in_band = (frequencies >= low_hz) & (frequencies < high_hz)
    total: Floats = power[:, in_band].sum(axis=1)
    return total
