"""Boxes of one image: those that are sure enough, the best of those that overlap, in pixels of the image itself.

Greedy non-maximum suppression by class, as torchvision's `batched_nms` and ONNX's NonMaxSuppression do it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

import numpy as np

from shoal_contract.processing import BoxesOutput
from shoal_numerics.processing.made import Placement

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MOST_CANDIDATES: Final = 8192
"""The surest boxes that are compared with each other: a model that is sure of everything costs no more than this."""
Floats: TypeAlias = "NDArray[np.float64]"


class Boxes(NamedTuple):
    """What is seen in one image, the surest first.

    Attributes:
        corners: (found, 4) float32: left, top, right, bottom in pixels of the upright image, within it.
        classes: (found,) int64.
        scores: (found,) float32.
    """

    corners: NDArray[np.float32]
    classes: NDArray[np.int64]
    scores: NDArray[np.float32]


def find_boxes(
    meant: BoxesOutput, places: Floats, scores: Floats, placement: Placement, input_size: tuple[int, int]
) -> Boxes:
    """Return what one image's boxes say.

    Args:
        meant: What is declared.
        places: (boxes, 4) as the model gives them.
        scores: (boxes, classes) after the activation.
        placement: Where the image lies in the model's input.
        input_size: Width and height of that input, in pixels.
    """
    box, kind = np.nonzero(scores >= meant.score_threshold)
    sure = scores[box, kind]
    order = np.argsort(-sure, kind="stable")[:_MOST_CANDIDATES]
    box, kind, sure = box[order], kind[order], sure[order]
    corners = to_corners(places, meant, input_size)[box]
    kept = suppress(corners, kind, meant.overlap_threshold, meant.top)
    return Boxes(
        _in_image(corners[kept], placement).astype(np.float32),
        kind[kept].astype(np.int64),
        sure[kept].astype(np.float32),
    )


def to_corners(places: Floats, meant: BoxesOutput, input_size: tuple[int, int]) -> Floats:
    """Return boxes as left, top, right, bottom in pixels of the model's input, (boxes, 4)."""
    corners = places
    if meant.form == "cxcywh":
        half = places[:, 2:] / 2
        corners = np.concatenate([places[:, :2] - half, places[:, :2] + half], axis=1)
    if meant.unit == "ratio":
        corners = corners * np.array([*input_size, *input_size], dtype=np.float64)
    return corners


def suppress(corners: Floats, classes: NDArray[np.intp], overlap: float, top: int) -> list[int]:
    """Return the places of the boxes that stay.

    Args:
        corners: (boxes, 4), the surest first.
        classes: (boxes,); boxes of different classes never push each other out.
        overlap: Intersection over union above which the weaker one goes.
        top: How many stay at most.
    """
    rest, kept = np.arange(len(corners)), list[int]()
    while len(rest) and len(kept) < top:
        best, rest = rest[0], rest[1:]
        kept.append(int(best))
        is_other = (classes[rest] != classes[best]) | (overlaps(corners[best], corners[rest]) <= overlap)
        rest = rest[is_other]
    return kept


def overlaps(one: Floats, others: Floats) -> Floats:
    """Return intersection over union of a box (4,) with each of (boxes, 4); 0 where both are empty."""
    low, high = np.maximum(one[:2], others[:, :2]), np.minimum(one[2:], others[:, 2:])
    common = np.clip(high - low, 0, None).prod(axis=1)
    whole = _area(one) + _area(others) - common
    shares: Floats = np.divide(common, whole, out=np.zeros_like(common), where=whole > 0)
    return shares


def _area(boxes: Floats) -> Floats:
    area: Floats = np.clip(boxes[..., 2:] - boxes[..., :2], 0, None).prod(axis=-1)
    return area


def _in_image(corners: Floats, placement: Placement) -> Floats:
    """Return corners in pixels of the image, cut off at its sides."""
    away = np.array([placement.left, placement.top] * 2, dtype=np.float64)
    scale = np.array([placement.scale_x, placement.scale_y] * 2)
    most = np.array([placement.width, placement.height] * 2, dtype=np.float64)
    inside: Floats = np.clip((corners - away) / scale, 0, most)
    return inside
