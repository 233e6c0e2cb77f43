"""What of capture Prometheus is told."""

from collections.abc import Iterable
from typing import Final, get_args

from shoal_agent.capture.capturer import Capture, Fate
from shoal_agent.metrics import Family, Sample

_FATES: Final[tuple[Fate, ...]] = get_args(Fate)


def capture_families(capture: Capture | None) -> Iterable[Family]:
    """Return what became of samples; nothing where none are captured."""
    if capture is not None:
        samples = tuple(Sample(capture.fates[fate], {"fate": fate}) for fate in _FATES)
        text = "Samples that the owner's rules have picked, by what became of them."
        yield Family("shoal_agent_captured_samples_total", "counter", text, samples)
