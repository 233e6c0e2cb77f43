"""Measures a variant beside its source on this machine: sizes, operations, latency in turns, memory."""

import zlib

from shoal_compression.data import Samples
from shoal_compression.latency import Timing, timings
from shoal_compression.measures import Measures
from shoal_compression.model import RUNTIMES, Model
from shoal_compression.model_memory import model_memory_bytes
from shoal_compression.operations import contents
from shoal_compression.verdict import Verdict

_GZIP_LEVEL = 6


def gzip_bytes(content: bytes) -> int:
    """Return what a file takes when it travels compressed."""
    packer = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, 31)
    return len(packer.compress(content)) + len(packer.flush())


def measure_both(source: Model, variant: Model, samples: Samples, verdict: Verdict) -> tuple[Measures, Measures]:
    """Return the figures of both. A Keras file, which no device runs, has neither latency nor memory.

    Raises:
        TechniqueError: One can not be run.
    """
    models = {"source": source, "variant": variant}
    timed = timings({name: model for name, model in models.items() if model.form in RUNTIMES}, samples)
    accuracies = {"source": verdict.accuracy_source, "variant": verdict.accuracy}
    agreements = {"source": 1.0, "variant": verdict.agreement}
    first, second = (
        _measures(model, samples, timed.get(name), accuracies[name], agreements[name]) for name, model in models.items()
    )
    return first, second


def _measures(
    model: Model, samples: Samples, timing: Timing | None, accuracy: float | None, agreement: float
) -> Measures:
    held = contents(model, samples)
    return Measures(
        size_bytes=model.size_bytes,
        gzip_bytes=gzip_bytes(model.content),
        weights_bytes=held.weights_bytes,
        latency_p50_ms=timing.p50_ms if timing else None,
        latency_p95_ms=timing.p95_ms if timing else None,
        energy_mj=timing.energy_mj if timing else None,
        memory_bytes=model_memory_bytes(model, samples),
        macs=held.macs,
        accuracy=accuracy,
        agreement=agreement,
    )
