"""Steps that make features of several columns of numbers: products, ratios and differences."""

from collections.abc import Sequence
from itertools import groupby
from typing import ClassVar, Final

import numpy as np
from pydantic import Field

from shoal_training.errors import DataError
from shoal_training.onnx_samples import Array
from shoal_training.transforms.frame import Frame
from shoal_training.transforms.graph_writer import GraphWriter
from shoal_training.transforms.step import FittedStep, Step

MAX_TERMS: Final = 10_000


class Polynomial(Step):
    """Adds the products of columns up to a degree, powers among them."""

    kind: ClassVar[str] = "polynomial"

    degree: int = Field(default=2, ge=2, le=4)
    interaction_only: bool = False
    """Whether products of different columns are all: no powers."""

    def fit(self, frame: Frame, names: tuple[str, ...]) -> tuple[FittedStep, ...]:  # noqa: ARG002 - nothing is learned
        """See `Step`."""
        from sklearn.preprocessing import PolynomialFeatures

        made = PolynomialFeatures(self.degree, interaction_only=self.interaction_only, include_bias=False)
        made.fit(np.zeros((1, min(len(names), MAX_TERMS))))
        if made.n_output_features_ - len(names) > MAX_TERMS:
            raise DataError(
                f"transforming: polynomial: {len(names)} columns make {made.n_output_features_} products, at most "
                f"{MAX_TERMS} are taken; name fewer columns"
            )
        terms = [np.repeat(np.arange(len(names)), powers).tolist() for powers in made.powers_ if powers.sum() > 1]
        return (_products(names, sorted(terms, key=len)),) if terms else ()


class Ratio(Step):
    """Adds the first of two columns divided by the second."""

    kind: ClassVar[str] = "ratio"

    columns: tuple[str, str]
    name: str = Field(default="", max_length=256)
    """Of the new column; FIRST/SECOND without."""
    when_zero: float = 0.0
    """What it is where the second is 0."""

    def fit(self, frame: Frame, names: tuple[str, ...]) -> tuple[FittedStep, ...]:  # noqa: ARG002 - nothing is learned
        """See `Step`."""
        instead = np.float32(self.when_zero)

        def compute(block: Array) -> Array:
            return np.where(block[:, 1:] == 0, instead, block[:, :1] / block[:, 1:])

        def write(writer: GraphWriter, tensor: str) -> str:
            above, below = _apart(writer, tensor)
            is_zero = writer.add("Equal", below, writer.constant([0.0], np.float32))
            return writer.add("Where", is_zero, writer.constant([instead], np.float32), writer.add("Div", above, below))

        return (FittedStep(names, (self.name or "/".join(names),), compute, write, keeps=True),)


class Difference(Step):
    """Adds the first of two columns less the second."""

    kind: ClassVar[str] = "difference"

    columns: tuple[str, str]
    name: str = Field(default="", max_length=256)
    """Of the new column; FIRST-SECOND without."""

    def fit(self, frame: Frame, names: tuple[str, ...]) -> tuple[FittedStep, ...]:  # noqa: ARG002 - nothing is learned
        """See `Step`."""

        def compute(block: Array) -> Array:
            return block[:, :1] - block[:, 1:]

        def write(writer: GraphWriter, tensor: str) -> str:
            return writer.add("Sub", *_apart(writer, tensor))

        return (FittedStep(names, (self.name or "-".join(names),), compute, write, keeps=True),)


def _products(names: tuple[str, ...], terms: Sequence[Sequence[int]]) -> FittedStep:
    """Return a column for each term: the product of the columns at its places, from left to right."""
    by_degree = [np.array(list(group)).T for _, group in groupby(terms, key=len)]

    def compute(block: Array) -> Array:
        parts = []
        for places in by_degree:
            product = block[:, places[0]]
            for more in places[1:]:
                product = product * block[:, more]
            parts.append(product)
        return np.concatenate(parts, axis=1)

    def write(writer: GraphWriter, tensor: str) -> str:
        parts = []
        for places in by_degree:
            product, *others = (writer.add("Gather", tensor, writer.constant(one, np.int64), axis=1) for one in places)
            for more in others:
                product = writer.add("Mul", product, more)
            parts.append(product)
        return parts[0] if len(parts) == 1 else writer.add("Concat", *parts, axis=1)

    given = tuple("*".join(names[at] for at in term) for term in terms)
    return FittedStep(names, given, compute, write, keeps=True)


def _apart(writer: GraphWriter, tensor: str) -> tuple[str, str]:
    first, second = (writer.add("Gather", tensor, writer.constant([at], np.int64), axis=1) for at in (0, 1))
    return first, second
