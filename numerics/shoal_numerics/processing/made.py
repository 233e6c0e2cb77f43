"""What the steps hand on: an input with the samples that it leaves out, and where each image lies in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from shoal_numerics.tensors import Array

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Placement(NamedTuple):
    """Where an image lies in the model's input: a point (x, y) of the image is at (x * scale_x + left, ...) there.

    Attributes:
        width: Of the image, upright, in pixels.
        height: Likewise.
        scale_x: Pixels of the input for one of the image.
        scale_y: Likewise.
        left: Pixels of the input left of the image; negative where some of it was cut off.
        top: Likewise.
    """

    width: int
    height: int
    scale_x: float
    scale_y: float
    left: int
    top: int


class Made(NamedTuple):
    """One input of all samples that came.

    Attributes:
        array: (samples, ...); undefined where a sample was refused.
        refused: Why, by the sample's place.
        placements: Of images, one a sample; None where it was refused.
    """

    array: Array
    refused: dict[int, str]
    placements: list[Placement | None] | None = None


class Prepared(NamedTuple):
    """The inputs of those samples that could be prepared.

    Attributes:
        inputs: By the tensors' names; the first size of each is the number of `kept`.
        kept: (kept,) int64: the samples' places in what came, ascending.
        refused: Why the others were left out, by their places.
        placements: Where the images lie in the input that is made of images, for each kept sample; none without one.
    """

    inputs: dict[str, Array]
    kept: NDArray[np.int64]
    refused: dict[int, str]
    placements: list[Placement]
