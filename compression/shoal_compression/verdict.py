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
    is_numbers: bool = False
    """Whether the outputs are numbers and not classes, so that their SQNR counts and agreement says nothing."""
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
    def points_lost(self) -> float:
        """What is lost, in points: of accuracy, of the outputs' size if they are numbers, of agreement otherwise."""
        if self.drop_points is not None:
            return self.drop_points
        return points_of_sqnr(self.sqnr_db) if self.is_numbers else 100 * (1 - self.agreement)

    @property
    def is_within(self) -> bool:
        """Whether the variant keeps what its recipe demands."""
        return self.outcome == "within"


def points_of_sqnr(sqnr_db: float) -> float:
    """Return the root of the mean square error in percent of that of the outputs."""
    return float(100 * 10 ** (-sqnr_db / 20))
