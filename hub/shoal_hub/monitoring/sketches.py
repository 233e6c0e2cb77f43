"""From packed counts to histograms: checks what devices sent against the version's baseline. Pure."""

import base64
import binascii
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from shoal_contract.manifest import Baseline
from shoal_contract.telemetry import SketchCounts, Window
from shoal_hub.errors import InvalidInputError
from shoal_numerics import Histogram, HistogramEdges, NumericsError, unpack_counts

MAX_WINDOW_COUNT: Final = 2**31 - 1
"""Requests, samples and labelled samples of one window; the columns take no more."""


class Packed(NamedTuple):
    """The packed counts of one window: of the features' bins, and of the missing values."""

    features: bytes
    missing: bytes


def reference_of(baseline: Baseline) -> Histogram:
    """Return the baseline's feature counts as a histogram; it counts nothing as missing."""
    edges = HistogramEdges.from_lists([feature.edges for feature in baseline.features])
    counts = np.concatenate([np.asarray(feature.counts, dtype=np.int64) for feature in baseline.features])
    return Histogram(edges, counts, np.zeros(edges.feature_count, dtype=np.int64))


def check_window(window: Window, reference: Histogram) -> Packed:
    """Check a window's counts: their shapes, that they add up, and that no bin is one that a feature lacks.

    Raises:
        InvalidInputError: They do not; the window must not be merged.
    """
    where = f"reading a window of {window.model} version {window.version}"
    answers = sum(window.latency)
    if max(window.errors, answers) > window.requests or max(window.requests, window.samples) > MAX_WINDOW_COUNT:
        told = f"{window.requests} requests, {window.errors} errors, {answers} latencies, {window.samples} samples"
        raise InvalidInputError(f"{where}: {told} found, which can not be of one window")
    if window.correct > window.labelled or window.labelled > MAX_WINDOW_COUNT:
        told = f"{window.correct} of {window.labelled} labelled samples correct"
        raise InvalidInputError(f"{where}: {told} found, which can not be of one window")
    rows, bins = reference.edges.padded_shape
    found = (window.features.rows, window.features.bins, window.missing.rows, window.missing.bins)
    if found != (rows, bins, rows, 1):
        raise InvalidInputError(f"{where}: sketches of shape {found} found, expected {(rows, bins, rows, 1)}")
    packed = Packed(_decode(window.features, where), _decode(window.missing, where))
    counted = merge([packed], reference.edges, where).row_count
    if counted + (window.unsketched or 0) != window.samples:
        told = f"it counts {counted} samples, leaves out {window.unsketched or 0} and names {window.samples}"
        raise InvalidInputError(f"{where}: {told}")
    return packed


def merge(windows: Sequence[Packed], edges: HistogramEdges, where: str) -> Histogram:
    """Return the histogram of the union of windows.

    Raises:
        InvalidInputError: Counts are malformed.
    """
    merged = Histogram.empty(edges)
    rows, bins = edges.padded_shape
    try:
        for window in windows:
            counts = unpack_counts(window.features, rows * bins)
            missing = unpack_counts(window.missing, rows)
            merged = merged.merge(Histogram.from_padded(edges, counts, missing))
    except NumericsError as error:
        raise InvalidInputError(f"{where}: {error}") from error
    return merged


def _decode(counts: SketchCounts, where: str) -> bytes:
    try:
        return base64.b64decode(counts.data, validate=True)
    except binascii.Error as error:
        raise InvalidInputError(f"{where}: counts are not base64") from error
