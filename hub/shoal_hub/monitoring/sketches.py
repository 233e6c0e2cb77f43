"""From packed counts to histograms: checks what devices sent against the version's baseline. Pure."""

import base64
import binascii
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from shoal_contract.manifest import Baseline
from shoal_contract.telemetry import LATENCY_EDGES_MS, SketchCounts, Window
from shoal_hub.errors import InvalidInputError
from shoal_hub.monitoring.performance_check import check_performance
from shoal_hub.monitoring.quarantine import QuarantineError
from shoal_numerics import Histogram, HistogramEdges, NumericsError, unpack_counts

MAX_WINDOW_COUNT: Final = 2**31 - 1
"""Requests, samples and labelled samples of one window; the columns take no more."""

LATENCY_BINS: Final = len(LATENCY_EDGES_MS) + 1


class Packed(NamedTuple):
    """The packed counts of one window: of the features' bins, and of the missing values."""

    features: bytes
    missing: bytes


def reference_of(baseline: Baseline) -> Histogram:
    """Return the baseline's feature counts as a histogram, with the values that the reference has missed."""
    edges = HistogramEdges.from_lists([feature.edges for feature in baseline.features])
    counts = np.concatenate([np.asarray(feature.counts, dtype=np.int64) for feature in baseline.features])
    return Histogram(edges, counts, np.array(baseline.missing, dtype=np.int64))


def check_window(window: Window, baseline: Baseline, reference: Histogram) -> Packed:
    """Check a window's counts: their shapes, that they add up, and that no bin is one that a feature lacks.

    Raises:
        QuarantineError: They do not; the window must not be merged.
    """
    packed = check_form(window, baseline, reference)
    try:
        counted = merge([packed], reference.edges, where_of(window)).row_count
    except InvalidInputError as error:
        raise QuarantineError("unreadable", error.message) from error
    check_rows(window, counted)
    return packed


def check_form(window: Window, baseline: Baseline, reference: Histogram) -> Packed:
    """Check all of a window but what its packed counts come to.

    Raises:
        QuarantineError: It must not be merged.
    """
    where = where_of(window)
    if window.edges is not None and window.edges != reference.edges.sha256[:16]:
        message = f"{where}: edges {window.edges} found, expected {reference.edges.sha256[:16]}, those of the baseline"
        raise QuarantineError("another_baseline", message)
    _check_totals(window, where)
    _check_lengths(window, baseline, where)
    _check_parts(window, baseline, where)
    check_performance(window, baseline, where)
    rows, bins = reference.edges.padded_shape
    found = (window.features.rows, window.features.bins, window.missing.rows, window.missing.bins)
    if found != (rows, bins, rows, 1):
        message = f"{where}: sketches of shape {found} found, expected {(rows, bins, rows, 1)}"
        raise QuarantineError("another_baseline", message)
    return Packed(_decode(window.features, where), _decode(window.missing, where))


def check_rows(window: Window, counted: int) -> None:
    """See that a window has counted as many samples as it says.

    Raises:
        QuarantineError: It has not.
    """
    where = where_of(window)
    if counted + (window.unsketched or 0) != window.samples:
        told = f"it counts {counted} samples, leaves out {window.unsketched or 0} and names {window.samples}"
        raise QuarantineError("does_not_add_up", f"{where}: {told}")
    if counted and window.left_out and "features" in window.left_out:
        raise QuarantineError("does_not_add_up", f"{where}: it counts {counted} samples and says that it counts none")


def where_of(window: Window) -> str:
    """Return what is being done, for a message about a window."""
    return f"reading a window of {window.model} version {window.version}"


def _check_totals(window: Window, where: str) -> None:
    answers = sum(window.latency)
    most = max(window.requests, window.samples, window.labelled)
    if most > MAX_WINDOW_COUNT:
        raise QuarantineError("out_of_bounds", f"{where}: a count of {most} found, at most {MAX_WINDOW_COUNT} expected")
    misfits = window.misfits.total if window.misfits is not None else 0
    if max(window.errors, answers) > window.requests or misfits > window.errors:
        told = f"{window.requests} requests, {window.errors} errors, {misfits} misfits, {answers} latencies"
        raise QuarantineError("does_not_add_up", f"{where}: {told} found, which can not be of one window")
    if window.correct > window.labelled:
        told = f"{window.correct} of {window.labelled} labelled samples correct"
        raise QuarantineError("does_not_add_up", f"{where}: {told} found, which can not be of one window")
    for name, counts in (("predictions", window.predictions), ("confidence", window.confidence)):
        if sum(counts) > window.samples:
            message = f"{where}: {name} of {sum(counts)} samples found, and it names {window.samples}"
            raise QuarantineError("does_not_add_up", message)


def _check_lengths(window: Window, baseline: Baseline, where: str) -> None:
    """See that there is a count for each label and bin, and none that is not there."""
    expected = (len(baseline.predictions), len(baseline.confidence.counts), LATENCY_BINS)
    found = (len(window.predictions), len(window.confidence), len(window.latency))
    if found != expected:
        message = f"{where}: {found} counts of labels, confidence and latency found, expected {expected}"
        raise QuarantineError("another_baseline", message)


def _check_parts(window: Window, baseline: Baseline, where: str) -> None:
    """See that embedding and slices are the baseline's and can be of so many samples."""
    if window.embedding is not None:
        expected = baseline.embedding
        if expected is None or expected.seed != window.embedding.seed:
            raise QuarantineError("another_baseline", f"{where}: an embedding found that is not the baseline's")
        problem = window.embedding.misfit(len(expected.reference.sums))
        if problem:
            raise QuarantineError("out_of_bounds", f"{where}: embedding: {problem}")
        if window.embedding.samples > window.samples:
            message = f"{where}: {window.embedding.samples} samples are embedded, and it names {window.samples}"
            raise QuarantineError("does_not_add_up", message)
    slices = baseline.slices or ()
    if window.slices is not None and len(window.slices) != len(slices):
        message = f"{where}: {len(window.slices)} slices found, expected {len(slices)}"
        raise QuarantineError("another_baseline", message)
    for counts, one in zip(window.slices or (), slices, strict=False):
        lengths = (len(counts.predictions), len(counts.confidence))
        if lengths != (len(one.reference.predictions), len(one.reference.confidence)):
            message = f"{where}: slice {one.name} has {lengths} counts of labels and confidence, not the baseline's"
            raise QuarantineError("another_baseline", message)
        if counts.samples > window.samples or max(sum(counts.predictions), sum(counts.confidence)) > counts.samples:
            message = f"{where}: slice {one.name} counts more than its {counts.samples} of {window.samples} samples"
            raise QuarantineError("does_not_add_up", message)


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
        raise QuarantineError("unreadable", f"{where}: counts are not base64") from error
