"""Windows of telemetry: one whose counts hold every sample, and one that leaves some out."""

from datetime import timedelta

from tests.contract.golden_enrolment import NOON

from shoal_contract.telemetry import OutboxPosition, SketchCounts, Window


def window() -> Window:
    return Window(
        outbox=OutboxPosition(stream="0123456789abcdef", sequence=42, oldest=40),
        model="digits",
        version=3,
        manifest_sha256="a" * 64,
        started_at=NOON,
        ended_at=NOON + timedelta(seconds=60),
        requests=100,
        samples=120,
        errors=1,
        features=SketchCounts(rows=1, bins=4, data="AQIDBA=="),
        missing=SketchCounts(rows=1, bins=1, data="AA=="),
        predictions=(61, 59),
        confidence=(1, 9, 110),
        latency=(0, 0, 4, 90, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0),
        labelled=40,
        correct=37,
    )


def sampled_window() -> Window:
    """Of 170 samples, 50 are in no feature's counts."""
    return window().model_copy(update={"samples": 170, "unsketched": 50})
