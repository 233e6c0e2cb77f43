"""A version's processing, ready for use: from columns of raw data to inputs, from outputs to columns of answers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np

from shoal_contract.manifest import TensorSpec
from shoal_contract.processing import ImageInput, NumberFeature, Processing, TabularInput
from shoal_numerics.processing.columns import column_of
from shoal_numerics.processing.images import make_images
from shoal_numerics.processing.made import Made, Placement, Prepared
from shoal_numerics.processing.outputs import read_output
from shoal_numerics.processing.plain import make_plain
from shoal_numerics.processing.tables import make_table
from shoal_numerics.tensors import Array

MAX_PIXELS: Final = 24 * 1024 * 1024
"""Of one image, unless the device's owner allows more: 72 MB while it is decoded."""


class Declared(NamedTuple):
    """What a version says of itself.

    Attributes:
        inputs: Of the model.
        outputs: Likewise.
        labels: Names of the classes.
        processing: How inputs are made and what outputs mean; None: they are as they are.
        features: Names of what lies along an input's last axis, in order, by the version's baseline.
    """

    inputs: Sequence[TensorSpec]
    outputs: Sequence[TensorSpec]
    labels: Sequence[str]
    processing: Processing | None
    features: Sequence[str] = ()


class Pipeline:
    """What is done before and after a version's model. Holds no state: any thread may use it.

    Args:
        declared: By the version; what it does not declare is taken and given as it is.
        max_pixels: This machine's own bound of one image.
    """

    def __init__(self, declared: Declared, max_pixels: int = MAX_PIXELS) -> None:
        self._declared = declared
        self._processing = declared.processing or Processing()
        self._max_pixels = max_pixels

    @property
    def image_input(self) -> str | None:
        """Name of the input that is made of images, if there is one."""
        made = self._processing.inputs.items()
        return next((name for name, one in made if isinstance(one, ImageInput)), None)

    def columns(self, known: Collection[str]) -> tuple[str, ...]:
        """Return the columns that the inputs are made of, of those that the data has; a missing one is told later."""
        needed: dict[str, None] = {}
        for spec in self._declared.inputs:
            made = self._made_of(spec, known)
            names = [feature.name for feature in made.features] if isinstance(made, TabularInput) else [spec.name]
            needed |= dict.fromkeys(names)
        return tuple(needed)

    def prepare(self, columns: Mapping[str, Array], samples: int) -> Prepared:
        """Make the model's inputs.

        Args:
            columns: Raw data by name, each (samples,): see `shoal_numerics.processing.columns`; images as bytes, under
                the name of their input.
            samples: How many there are.

        Returns:
            The inputs of the samples that can be used, and why the others can not.

        Raises:
            ProcessingError: A column is missing, or a library.
        """
        made = {spec.name: self._make(spec, columns, samples) for spec in self._declared.inputs}
        refused: dict[int, str] = {}
        for one in made.values():
            refused = one.refused | refused
        kept = np.array([place for place in range(samples) if place not in refused], dtype=np.int64)
        inputs = {name: one.array[kept] if refused else one.array for name, one in made.items()}
        placements: list[Placement] = []
        for one in made.values():
            if one.placements is not None:
                placements = [found for place in kept if (found := one.placements[place]) is not None]
        return Prepared(inputs, kept, refused, placements)

    def read(self, outputs: Mapping[str, Array], prepared: Prepared) -> dict[str, Array]:
        """Return what the model's answer to prepared inputs means, as columns by name, each (kept,).

        Args:
            outputs: The model's, each (kept, ...).
            prepared: What it answered.

        Raises:
            ProcessingError: An output has another shape than what is declared of it asks for.
        """
        declared = self._processing.outputs
        scores = {meant.scores for meant in declared.values() if meant.kind == "boxes"}
        columns: dict[str, Array] = {}
        for spec in self._declared.outputs:
            if spec.name in scores and spec.name not in declared:
                continue  # told with its boxes
            meant, labels = declared.get(spec.name), self._declared.labels
            size = self._input_size(prepared)
            columns |= read_output(spec.name, meant, outputs, labels, prepared.placements, size)
        return columns

    def _make(self, spec: TensorSpec, columns: Mapping[str, Array], samples: int) -> Made:
        made = self._made_of(spec, columns)
        if isinstance(made, ImageInput):
            return make_images(made, spec, column_of(columns, spec.name).tolist(), self._max_pixels)
        if made is None:
            return make_plain(spec, columns, samples)
        table = make_table(made, spec, columns, samples)
        return table._replace(array=table.array.reshape(samples, *(abs(size) for size in spec.shape[1:])))

    def _made_of(self, spec: TensorSpec, known: Collection[str]) -> ImageInput | TabularInput | None:
        """Return what an input is made of: what is declared, or the baseline's features where the data has them all."""
        declared = self._processing.inputs.get(spec.name)
        names = list(self._declared.features)
        is_fixed = bool(spec.shape) and -1 not in spec.shape[1:] and int(np.prod(spec.shape[1:])) == len(names)
        is_alone = len(self._declared.inputs) == 1 and spec.datatype not in {"BYTES", "BOOL"}
        if declared is not None or spec.name in known or not (is_fixed and is_alone and set(names) <= set(known)):
            return declared
        return TabularInput(features=tuple(NumberFeature(name=name) for name in names))

    def _input_size(self, prepared: Prepared) -> tuple[int, int]:
        """Return width and height of the input that is made of images; 0 where there is none."""
        name = self.image_input
        if name is None:
            return 0, 0
        made, shape = self._processing.inputs[name], prepared.inputs[name].shape
        is_first = isinstance(made, ImageInput) and made.layout == "NCHW"
        return (shape[3], shape[2]) if is_first else (shape[2], shape[1])
