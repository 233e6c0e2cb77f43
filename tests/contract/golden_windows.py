"""Windows of telemetry: one whose counts hold every sample, and one that leaves some out."""

from datetime import timedelta

from tests.contract.golden_enrolment import NOON

from shoal_contract.performance import CustomMetric, PerformanceCounts, RegressionSums, ValueSums
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


def performance_window() -> Window:
    """What truth came back: packed counts of labels, errors of a number overall and in a slice, a metric."""
    errors = ValueSums(values=2, mean=0.5, squares=0.5, least=0.0, most=1.0)
    truth = ValueSums(values=2, mean=20.0, squares=50.0, least=15.0, most=25.0)
    regression = RegressionSums(errors=errors, absolute=1.0, truth=truth)
    told = PerformanceCounts(
        counts="KLUv/SAEIQAAJQEFCA==",
        regression=regression,
        regression_slices=(regression, None),
        not_finite=1,
        metrics=(CustomMetric(name="parcels.late_min", sums=truth),),
    )
    return window().model_copy(update={"performance": told})


def sampled_window() -> Window:
    """Of 170 samples, 50 are in no feature's counts."""
    return window().model_copy(update={"samples": 170, "unsketched": 50})
