"""What verification says of a variant: how it compares with the source, and whether that is within the tolerance."""

from typing import Literal

from pydantic import Field

from shoal_compression.values import Record


class Layer(Record):
    """What one node of the source's graph says, against the same place in the variant."""

    name: str
    """Of the node, or of its output where it has none."""
    operator: str
    sqnr_db: float
    """Of its output: the lower, the more is lost from the input up to here."""
    own_sqnr_db: float
    """The same without the noise that comes in: the lower, the more this layer loses by itself."""


class SliceAccuracy(Record):
    """Accuracy on the samples of one slice."""

    slice: str
    """`name=value`."""
    samples: int
    source: float
    variant: float


class Verdict(Record):
    """A variant against its source on the held-out samples."""

    samples: int = Field(ge=1)
    accuracy_source: float | None = None
    """0..1; None: the samples have no classes as labels."""
    accuracy: float | None = None
    drop_points: float | None = None
    """Percentage points that are lost; negative: gained."""
    drop_low: float | None = None
    """Of the paired 95 % interval, as above."""
    drop_high: float | None = None
    agreement: float
    """Share (0..1) of samples with the source's class."""
    sqnr_db: float
    slices: tuple[SliceAccuracy, ...] = ()
    layers: tuple[Layer, ...] = ()
    """Per-layer sensitivity, in the order of the graph; empty where layers can not be told."""
    layers_note: str = ""
    """Why layers can not be told, where they can not."""
    outcome: Literal["within", "outside"]
    reasons: tuple[str, ...] = ()
    """Each bound that is broken: what was found, and what was expected."""
    blamed: tuple[str, ...] = ()
    """The layers that lose the most, worst first, where the outcome is `outside`."""

    @property
    def is_within(self) -> bool:
        """Whether the variant keeps what its recipe demands."""
        return self.outcome == "within"


def drop_points(verdict: Verdict, *, is_numbers: bool) -> float:
    """Return the points that a variant loses: of accuracy, of agreement without labels, of the outputs if numbers.

    Args:
        verdict: It beside its source.
        is_numbers: Whether its outputs are numbers, whose largest one is no class.
    """
    if verdict.drop_points is not None:
        return verdict.drop_points
    return points_of_sqnr(verdict.sqnr_db) if is_numbers else 100 * (1 - verdict.agreement)


def points_of_sqnr(sqnr_db: float) -> float:
    """Return the root of the mean square error in percent of that of the outputs."""
    return float(100 * 10 ** (-sqnr_db / 20))
