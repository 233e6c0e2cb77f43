"""A manifest whose baseline has all that may be watched, a window of it, and a window of a candidate in shadow."""

from datetime import timedelta

from tests.contract.golden_enrolment import NOON

from shoal_contract.embedding import EmbeddingBaseline, EmbeddingCounts, EmbeddingSums
from shoal_contract.manifest import FeatureBaseline, Moments, VersionManifest
from shoal_contract.performance import ConfidenceCalibration
from shoal_contract.slices import SliceBaseline, SliceCounts
from shoal_contract.telemetry import (
    DriftEvidenceTold,
    FeatureEvidence,
    HardExample,
    OutboxPosition,
    SchemaMisfits,
    ShadowWindow,
    Window,
)


def watched_manifest(base: VersionManifest) -> VersionManifest:
    """Missing values, moments, categories, an embedding, slices and a calibration."""
    pixel = base.baseline.features[0].model_copy(
        update={"missing": 3, "moments": Moments(values=1434, mean=2.5, variance=6.25)}
    )
    site = FeatureBaseline(name="site", edges=(-0.5, 0.5, 1.5), counts=(0, 1000, 437, 0), kind="categorical", missing=0)
    counts = SliceCounts(samples=437, predictions=(220, 217), confidence=(1, 10, 426))
    return base.model_copy(
        update={
            "baseline": base.baseline.model_copy(
                update={
                    "features": (pixel, site),
                    "calibration": ConfidenceCalibration(answered=(2, 30, 468), right=(1, 20, 460)),
                    "embedding": EmbeddingBaseline(
                        output="scores",
                        seed=7,
                        scale=1.5,
                        reference=EmbeddingSums(
                            samples=2, sums=(-32_768, 65_536), squares=(536_870_912, 2_147_483_648)
                        ),
                    ),
                    "slices": (
                        SliceBaseline(name="annex", feature=1, equals=1.0, reference=counts),
                        SliceBaseline(name="dim", feature=0, low=-1.0, high=8.0, reference=counts),
                    ),
                }
            )
        }
    )


def watched_window(base: Window) -> Window:
    """What such a version's window says beside the rest."""
    return base.model_copy(
        update={
            "edges": "0123456789abcdef",
            "embedding": EmbeddingCounts(seed=7, samples=1, sums=(-32_768, 0), squares=(1_073_741_824, 0)),
            "slices": (
                SliceCounts(samples=40, predictions=(20, 20), confidence=(0, 1, 39)),
                SliceCounts(samples=0, predictions=(0, 0), confidence=(0, 0, 0)),
            ),
            "misfits": SchemaMisfits(missing=1, extra=2, retyped=3, reshaped=4, non_finite=5),
            "left_out": {"features": "70000 characters, at most 65536 fit"},
            "evidence": DriftEvidenceTold(windows=40, features=(FeatureEvidence(feature=1, log10=4.25),)),
        }
    )


def weighed_window(base: Window) -> Window:
    """What a window says whose device learns for another time than usual before it bets."""
    return base.model_copy(update={"evidence": DriftEvidenceTold(windows=201, warm_up_windows=200)})


def shadow_window(outbox: OutboxPosition) -> ShadowWindow:
    """How a candidate compared, with one hard example."""
    return ShadowWindow(
        outbox=outbox,
        trial="t-5f6g7h2j",
        model="digits",
        version=4,
        against=3,
        started_at=NOON,
        ended_at=NOON + timedelta(seconds=60),
        compared=118,
        disagreed=3,
        errors=1,
        skipped=2,
        latency=(0, 0, 4, 90, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0),
        labelled=20,
        correct=19,
        against_correct=17,
        examples=(
            HardExample(data="AACAPwAAAAA=", label=0, candidate_label=1, confidence=0.51, candidate_confidence=0.75),
        ),
    )
