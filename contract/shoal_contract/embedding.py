"""Sums of an embedding's features: what stands for images and sounds in baselines and windows.

How the features are made is `shoal_numerics.embedding`; the sums are whole numbers, so that they merge exactly.
"""

from typing import Annotated, Final

from pydantic import Field, model_validator
from typing_extensions import Self

from shoal_contract.limits import MAX_INTEGER
from shoal_contract.wire import Count, WireValue

EMBEDDING_FEATURES: Final = 64
"""Cosines that stand for a sample."""
EMBEDDING_ONE: Final = 2**15
"""What a cosine of 1 is in the sums: they are in fixed point."""
MAX_EMBEDDED_SAMPLES: Final = 2**32
"""Of one sum: squares of so many stay within 63 bits."""

_Sum = Annotated[int, Field(ge=-MAX_INTEGER, le=MAX_INTEGER)]


class EmbeddingSums(WireValue):
    """Sums of the features of some samples, and of their squares. Two of them merge by adding number to number.

    A feature is a cosine, rounded to a whole number of 1/32,768; a square has the unit 1/32,768².
    """

    samples: Annotated[int, Field(ge=0, le=MAX_EMBEDDED_SAMPLES)]
    sums: tuple[_Sum, ...] = Field(min_length=1, max_length=EMBEDDING_FEATURES)
    squares: tuple[Count, ...] = Field(min_length=1, max_length=EMBEDDING_FEATURES)

    @model_validator(mode="after")
    def _check_lengths(self) -> Self:
        if len(self.sums) != len(self.squares):
            msg = f"{len(self.sums)} sums for {len(self.squares)} squares, expected as many"
            raise ValueError(msg)
        return self

    @property
    def mean(self) -> tuple[float, ...]:
        """The mean of each feature, -1 to 1; 0 of no samples."""
        unit = EMBEDDING_ONE * max(1, self.samples)
        return tuple(one / unit for one in self.sums)

    @property
    def variance(self) -> tuple[float, ...]:
        """The variance of each feature: the diagonal of their covariance; 0 of no samples."""
        count = max(1, self.samples)
        pairs = zip(self.sums, self.squares, strict=True)
        # Exact in whole numbers until the one division.
        return tuple((count * square - one * one) / (count * EMBEDDING_ONE) ** 2 for one, square in pairs)

    def misfit(self, features: int) -> str:
        """Return why these can not be sums of `features` cosines of so many samples; empty if they can."""
        if len(self.sums) != features:
            return f"{len(self.sums)} sums found, expected {features}"
        most = self.samples * EMBEDDING_ONE
        for place, (one, square) in enumerate(zip(self.sums, self.squares, strict=True)):
            if abs(one) > most or square > most * EMBEDDING_ONE:
                return f"feature {place}: a sum of {one} and squares of {square} lie beyond {self.samples} cosines"
            if one * one > self.samples * square:
                return f"feature {place}: a sum of {one} is too large for squares of {square}"
        return ""


class EmbeddingBaseline(WireValue):
    """The embedding of a version's samples, and what it was of the reference.

    `output` names the output of the model that is embedded, as its last but one layer; None: the inputs that are
    watched. `seed` and `scale` make the features (`shoal_numerics.embedding`).
    """

    output: str | None = Field(default=None, max_length=256)
    seed: Count
    scale: float = Field(gt=0)
    reference: EmbeddingSums


class EmbeddingCounts(EmbeddingSums):
    """What a window tells of the samples that were embedded in it; only sums of the same seed merge."""

    seed: Count
