"""The version manifest: a statement about one version of a model and its variants.

It travels as an artifact of its own, and the desired state names it by hash. What makes it believed is that the
model's TUF role lists it (`shoal_contract.trust.manifest_target`).
"""

import base64
import binascii
import math
import struct
import sys
from collections.abc import Sequence
from itertools import pairwise
from math import prod
from typing import Annotated, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from shoal_contract.embedding import EmbeddingBaseline
from shoal_contract.errors import MessageError
from shoal_contract.ids import Name, Sha256, TensorName
from shoal_contract.limits import (
    MAX_GENERATED_BYTES,
    MAX_INTEGER,
    MAX_LABELS,
    MAX_TENSOR_BYTES,
    MAX_WATCHED_LABELS,
)
from shoal_contract.performance import ConfidenceCalibration
from shoal_contract.processing import BoxesOutput, ImageInput, Output, Processing
from shoal_contract.reported import ModelFormat, Runtime
from shoal_contract.sealable_file import SealableFile
from shoal_contract.slices import MAX_SLICE_COUNTS, MAX_SLICES, SliceBaseline
from shoal_contract.wire import Count, Ordinal, UtcTime, WireMessage, WireValue

Datatype = Literal[
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64", "BYTES"
]
"""Datatypes by the names of the Open Inference Protocol v2; elements of BYTES are of any length."""
LENGTH_BYTES = 4
"""Of the length, little-endian, before each element of BYTES."""
DATATYPE_BYTES: dict[str, int] = {
    "BOOL": 1, "UINT8": 1, "INT8": 1, "UINT16": 2, "INT16": 2, "FP16": 2,
    "UINT32": 4, "INT32": 4, "FP32": 4, "UINT64": 8, "INT64": 8, "FP64": 8,
}  # fmt: skip
_LARGEST_FLOAT: dict[str, float] = {"FP16": 65504.0, "FP32": (2 - 2**-23) * 2.0**127, "FP64": sys.float_info.max}
MAX_FEATURES = 16_384
"""Values of a sample that are watched one by one; of larger samples, statistics are."""


class TensorSpec(WireValue):
    """Name, datatype and shape of an input or output; -1 stands for any size."""

    name: TensorName
    datatype: Datatype
    shape: tuple[Annotated[int, Field(ge=-1, le=MAX_INTEGER)], ...] = Field(max_length=8)


def is_compatible(left: Sequence[int], right: Sequence[int]) -> bool:
    """Whether two shapes have the same rank and no two known sizes that differ."""
    return len(left) == len(right) and all(-1 in (a, b) or a == b for a, b in zip(left, right, strict=True))


class TensorData(WireValue):
    """A tensor by value: `data` is base64 of its elements, little-endian, in row-major order.

    An element of BYTES comes behind its length.
    """

    datatype: Datatype
    shape: tuple[Count, ...] = Field(max_length=8)
    data: str = Field(max_length=MAX_TENSOR_BYTES * 4 // 3 + 4)

    @model_validator(mode="after")
    def _check_size(self) -> Self:
        if self.datatype == "BYTES":
            self.elements()
            return self
        expected = DATATYPE_BYTES[self.datatype] * prod(self.shape)
        found = len(self.to_bytes())
        if found != expected:
            msg = f"tensor of shape {self.shape} and {self.datatype} has {found} bytes, expected {expected}"
            raise ValueError(msg)
        return self

    def to_bytes(self) -> bytes:
        """Return the elements' bytes, little-endian, row-major."""
        try:
            return base64.b64decode(self.data, validate=True)
        except binascii.Error as error:
            msg = f"tensor data is not base64: {error}"
            raise ValueError(msg) from error

    def elements(self) -> list[bytes]:
        """Return the elements of a tensor of BYTES.

        Raises:
            ValueError: They are more or fewer than its shape says, or one ends behind the data.
        """
        data, found, at = self.to_bytes(), [], 0
        while at < len(data):
            start = at + LENGTH_BYTES
            at = start + int.from_bytes(data[at:start], "little")
            found.append(data[start:at])
        if at != len(data) or len(found) != prod(self.shape):
            msg = f"tensor of shape {self.shape} and BYTES has {len(found)} elements in {len(data)} bytes, up to {at}"
            raise ValueError(msg)
        return found


def _check_bytes(datatype: Datatype, shape: tuple[int, ...]) -> None:
    if datatype == "BYTES":
        msg = "datatype is BYTES, numbers are expected of a tensor that is made or sampled"
        raise ValueError(msg)
    size_bytes = DATATYPE_BYTES[datatype] * prod(shape)
    if size_bytes > MAX_GENERATED_BYTES:
        msg = f"a tensor of shape {shape} and {datatype} has {size_bytes} bytes, at most {MAX_GENERATED_BYTES} allowed"
        raise ValueError(msg)


def _range_of(datatype: Datatype) -> tuple[float, float]:
    """Return the least and the largest number of a datatype; whole ones exactly, as `int`."""
    if datatype in _LARGEST_FLOAT:
        return -_LARGEST_FLOAT[datatype], _LARGEST_FLOAT[datatype]
    values = 256 ** DATATYPE_BYTES[datatype]
    return (0, values - 1) if datatype.startswith("U") else (-(values // 2), values // 2 - 1)


class GeneratedTensor(WireValue):
    """A golden input that is too large to travel: random numbers that each side makes by itself.

    Made by `shoal_numerics.golden_tensors`: evenly distributed from `low` to `high`, whole ones for whole datatypes.
    Both have to fit the datatype, or machines would make different ones; of BOOL they say nothing.
    """

    datatype: Datatype
    shape: tuple[Count, ...] = Field(max_length=8)
    seed: Count
    low: float
    high: float

    @model_validator(mode="after")
    def _check_range(self) -> Self:
        _check_bytes(self.datatype, self.shape)
        if not self.low <= self.high:
            msg = f"low {self.low} lies above high {self.high}"
            raise ValueError(msg)
        if self.datatype == "BOOL":
            return self
        least, most = _range_of(self.datatype)
        if not (least <= self.low and self.high <= most and math.isfinite(self.high - self.low)):
            msg = f"numbers from {self.low} to {self.high} do not fit {self.datatype}, which has {least} to {most}"
            raise ValueError(msg)
        return self


class SampledTensor(WireValue):
    """A golden output that is too large to travel: its shape, and every `step`-th element in row-major order.

    `data` is base64 of these elements, as in `TensorData`.
    """

    datatype: Datatype
    shape: tuple[Count, ...] = Field(max_length=8)
    step: Ordinal
    data: str = Field(max_length=MAX_TENSOR_BYTES * 4 // 3 + 4)

    @model_validator(mode="after")
    def _check_size(self) -> Self:
        _check_bytes(self.datatype, self.shape)
        self.elements()
        return self

    def elements(self) -> TensorData:
        """Return the elements that are given, as a flat tensor."""
        return TensorData(datatype=self.datatype, shape=(-(-prod(self.shape) // self.step),), data=self.data)


class Variant(SealableFile):
    """The version compressed for one target: one file, its runtime, and what it answers to the golden input."""

    target: Name
    runtime: Runtime
    format: ModelFormat
    precision: Annotated[str, Field(max_length=32)]
    golden_outputs: dict[TensorName, TensorData | SampledTensor] = Field(min_length=1, max_length=16)
    golden_tolerance: float = Field(ge=0)
    """Largest absolute difference from `golden_outputs` that the self-test accepts."""


class Moments(WireValue):
    """Mean and variance (of the population, in float64) of a feature's finite values in the reference."""

    values: Ordinal
    mean: float
    variance: float = Field(ge=0)


def _as_float32(values: Sequence[float]) -> tuple[float, ...] | None:
    """Return numbers as devices compare them; None where one is too large."""
    try:
        return struct.unpack(f"<{len(values)}f", struct.pack(f"<{len(values)}f", *values))
    except OverflowError:
        return None


class FeatureBaseline(WireValue):
    """Reference histogram of one feature: interior `edges`, strictly increasing; `counts` has one more entry."""

    name: str = Field(max_length=128)
    edges: tuple[float, ...] = Field(max_length=1023)
    counts: tuple[Count, ...] = Field(min_length=1, max_length=1024)
    kind: Literal["numeric", "categorical"] | None = None
    """None: numeric. Of a categorical one, each category has a bin of its own; bins in which the reference has
    nothing are of all other values, and the order of bins means nothing."""
    missing: Count | None = None
    """Values of the reference that were NaN; None, of an older manifest: as `Baseline.missing` says."""
    moments: Moments | None = None
    """None: of no finite value, or not recorded."""

    @property
    def is_categorical(self) -> bool:
        """Whether the bins are categories."""
        return self.kind == "categorical"

    @model_validator(mode="after")
    def _check_edges(self) -> Self:
        if len(self.counts) != len(self.edges) + 1:
            msg = f"feature {self.name}: {len(self.counts)} counts for {len(self.edges)} edges, expected one more"
            raise ValueError(msg)
        if any(left >= right for left, right in zip(self.edges, self.edges[1:], strict=False)):
            msg = f"feature {self.name}: edges must be strictly increasing"
            raise ValueError(msg)
        return self


class Baseline(WireValue):
    """What the training data looked like: per feature, per predicted label, and the model's confidence."""

    samples: Ordinal
    features_of: Literal["statistics"] | None = None
    """What the features of a sample are: four statistics of each input (shoal_numerics); None: its values."""
    inputs: tuple[TensorName, ...] | None = Field(default=None, min_length=1, max_length=16)
    """The inputs that are watched, in order; None: all. A setting or a state that comes back tells nothing of data."""
    features: tuple[FeatureBaseline, ...] = Field(min_length=1, max_length=MAX_FEATURES)
    predictions: tuple[Count, ...] = Field(max_length=MAX_WATCHED_LABELS)
    confidence: FeatureBaseline
    embedding: EmbeddingBaseline | None = None
    """Of images and sounds, or of an output of the model that was declared."""
    slices: tuple[SliceBaseline, ...] | None = Field(default=None, min_length=1, max_length=MAX_SLICES)
    """Parts of the samples that are counted by themselves, each with counts as `predictions` and `confidence`."""
    calibration: ConfidenceCalibration | None = None
    """What estimates of accuracy without labels rest on until some come back; None: of no held-out data with labels."""

    @model_validator(mode="after")
    def _check_calibration(self) -> Self:
        if self.calibration is not None and len(self.calibration.answered) != len(self.confidence.counts):
            found, expected = len(self.calibration.answered), len(self.confidence.counts)
            msg = f"calibration: {found} bins found, expected {expected}, those of the confidence"
            raise ValueError(msg)
        return self

    @property
    def missing(self) -> tuple[int, ...]:
        """How many values of each feature the reference has missed.

        An older manifest says it by what its counts fall short of: each feature has counted every sample that it had.
        """
        most = max(sum(feature.counts) + (feature.missing or 0) for feature in self.features)
        return tuple(
            feature.missing if feature.missing is not None else most - sum(feature.counts) for feature in self.features
        )

    @property
    def disagreement(self) -> str:
        """Why nothing can be counted by this baseline; empty if it can.

        It is asked when a version is registered. Reading a manifest does not ask: what is signed and served goes on
        being served, and is only not watched.
        """
        first, expected = self.features[0], sum(self.features[0].counts) + self.missing[0]
        if not expected:
            return f"feature {first.name} has counted no rows, expected at least one"
        for feature, missing in zip(self.features, self.missing, strict=True):
            rows = sum(feature.counts) + missing
            if rows != expected:
                return f"feature {feature.name} has counted {rows} rows and {first.name} {expected}, expected the same"
            edges = _as_float32(feature.edges)
            if edges is None or any(left >= right for left, right in pairwise(edges)):
                return f"feature {feature.name}: edges must be finite and strictly increasing as float32"
        return ""

    @model_validator(mode="after")
    def _check_slices(self) -> Self:
        slices = self.slices or ()
        if sum(len(one.reference.predictions) + len(one.reference.confidence) for one in slices) > MAX_SLICE_COUNTS:
            msg = f"slices: more than {MAX_SLICE_COUNTS} labels and bins of confidence together"
            raise ValueError(msg)
        for one in slices:
            if one.feature >= len(self.features):
                msg = f"slice {one.name}: no feature {one.feature}, there are {len(self.features)}"
                raise ValueError(msg)
            if len(one.reference.confidence) != len(self.confidence.counts) or len(one.reference.predictions) not in {
                0,
                len(self.predictions),
            }:
                msg = f"slice {one.name}: its counts are not as many as the baseline's"
                raise ValueError(msg)
        if len({one.name for one in slices}) != len(slices):
            msg = "slices: two have the same name"
            raise ValueError(msg)
        return self


class Provenance(WireValue):
    """Where a version comes from."""

    source_sha256: Sha256
    data_sha256: Sha256
    parent_version: Ordinal | None = None
    federated_run: Name | None = None
    recipe: dict[str, str] = Field(default_factory=dict, max_length=64)


class VersionManifest(WireMessage):
    """The statement about one version."""

    model: Name
    version: Ordinal
    created_at: UtcTime
    inputs: tuple[TensorSpec, ...] = Field(min_length=1, max_length=16)
    outputs: tuple[TensorSpec, ...] = Field(min_length=1, max_length=16)
    labels: tuple[str, ...] = Field(default=(), max_length=MAX_LABELS)
    batching: Literal["none"] | None = None
    """`none`: one request is one sample, whatever the sizes of its tensors. None: samples lie along the first axis of
    every input and output."""
    golden_inputs: dict[TensorName, TensorData | GeneratedTensor] = Field(min_length=1, max_length=16)
    variants: tuple[Variant, ...] = Field(min_length=1, max_length=64)
    baseline: Baseline
    provenance: Provenance
    processing: Processing | None = None
    """How inputs are made and what outputs mean; none: a client sends and gets tensors as they are."""

    @property
    def is_batched(self) -> bool:
        """Whether a request may hold several samples."""
        return self.batching is None

    @model_validator(mode="after")
    def _check_made(self) -> Self:
        made = [one for one in self.golden_inputs.values() if isinstance(one, GeneratedTensor)]
        size_bytes = sum(DATATYPE_BYTES[one.datatype] * prod(one.shape) for one in made)
        if size_bytes > MAX_GENERATED_BYTES:
            msg = f"golden inputs: {size_bytes} bytes are to be made, at most {MAX_GENERATED_BYTES} allowed"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _check_watched(self) -> Self:
        unknown = sorted(set(self.baseline.inputs or ()) - {spec.name for spec in self.inputs})
        if unknown:
            msg = f"baseline: no input {', '.join(unknown)}"
            raise ValueError(msg)
        embedded = self.baseline.embedding.output if self.baseline.embedding is not None else None
        if embedded is not None and embedded not in {spec.name for spec in self.outputs}:
            msg = f"baseline: no output {embedded} that could be embedded"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _check_processing(self) -> Self:
        problem = "" if self.processing is None else processing_misfit(self.processing, self.inputs, self.outputs)
        if self.processing is not None and not self.is_batched:
            problem = "it makes samples along the first axis, and a request of this version is one sample"
        if problem:
            raise ValueError(f"processing: {problem}")
        return self

    def variant_for(self, target: str) -> Variant:
        """Return the variant for `target`.

        Raises:
            MessageError: The version has no such variant.
        """
        for variant in self.variants:
            if variant.target == target:
                return variant
        known = ", ".join(variant.target for variant in self.variants)
        msg = f"choosing a variant of {self.model} version {self.version}: no target {target!r}; it has {known}"
        raise MessageError(msg)


def processing_misfit(processing: Processing, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> str:
    """Return why what is declared can not be of a version with these inputs and outputs; empty if it can."""
    by_name = {spec.name: spec for spec in inputs}
    for name, made in processing.inputs.items():
        if name not in by_name:
            return f"no input {name!r}; the version has {', '.join(by_name)}"
        if problem := made.misfit(by_name[name].shape, by_name[name].datatype):
            return f"input {name!r}: {problem}"
    images = sum(isinstance(made, ImageInput) for made in processing.inputs.values())
    datatypes: dict[str, str] = {spec.name: spec.datatype for spec in outputs}
    problems = (_output_misfit(name, meant, datatypes, images) for name, meant in processing.outputs.items())
    return next(filter(None, problems), "")


def _output_misfit(name: str, meant: Output, datatypes: dict[str, str], images: int) -> str:
    for asked in (name, meant.scores) if isinstance(meant, BoxesOutput) else (name,):
        if asked not in datatypes:
            return f"no output {asked!r}; the version has {', '.join(datatypes)}"
        if datatypes[asked] in {"BYTES", "BOOL"}:
            return f"output {asked!r}: its datatype is {datatypes[asked]}, numbers are asked"
    if isinstance(meant, BoxesOutput) and images != 1:
        return f"output {name!r} has boxes in an image, and {images} inputs are made of images; expected one"
    return ""
