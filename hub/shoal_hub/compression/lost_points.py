"""What a candidate loses against the source on one device: paired, on samples that both have answered. Pure."""

from shoal_compression.comparing import sqnr_of_powers
from shoal_compression.search.candidates import SOURCE
from shoal_compression.verdict import points_of_sqnr
from shoal_contract.benchmarks import BenchmarkResult, CandidateMeasured
from shoal_hub.compression.samples import SourceHere


def lost_points(one: CandidateMeasured, result: BenchmarkResult, here: SourceHere) -> float | None:
    """Return the points that a candidate loses on a device; None where the device can not tell.

    It is accuracy where samples have classes, agreement where they have no labels, and the size of the difference where
    outputs are numbers. Without the source on the device, accuracy is held against what the source gets right at the
    hub on the same samples.

    Args:
        one: The candidate.
        result: What the device has told of all.
        here: What the source answers at the hub.
    """
    if one.name == SOURCE:
        return 0.0
    source = next((first for first in result.measured if first.name == SOURCE and first.latency_ms is not None), None)
    if here.is_numbers:
        return None if source is None else _of_numbers(one)
    if one.right is not None and one.samples:
        return _of_classes(one, one.right, source, here)
    # Older agents tell that nothing agreed where the first candidate did not run, or is none that has run here.
    if source is None or one.agreed is None:
        return None
    compared = one.paired.samples if one.paired is not None else one.samples
    return 100 * (1 - one.agreed / compared) if compared else None


def _of_numbers(one: CandidateMeasured) -> float | None:
    if one.paired is None or one.paired.signal is None or one.paired.noise is None:
        return None
    return points_of_sqnr(sqnr_of_powers(one.paired.signal, one.paired.noise))


def _of_classes(one: CandidateMeasured, right: int, source: CandidateMeasured | None, here: SourceHere) -> float | None:
    paired = one.paired
    if source is not None and paired is not None and paired.right is not None and paired.first_right is not None:
        return 100 * (paired.first_right - paired.right) / paired.samples
    if source is not None and source.samples == one.samples and source.right is not None:  # an older agent
        return 100 * (source.right - right) / one.samples
    before = here.right_of(one.samples)
    if before is not None:
        return 100 * (before - right) / one.samples
    if source is None or source.right is None or not source.samples:
        return None
    return 100 * (source.right / source.samples - right / one.samples)
