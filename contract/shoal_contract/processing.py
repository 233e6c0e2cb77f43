"""What is done to raw data before a model sees it, and to what it answers: declared values in the manifest, no code.

A reader that does not know a kind refuses the manifest: what it left out, the model would answer wrongly without. The
steps themselves are `shoal_numerics.processing`.
"""

from typing import Annotated, Final, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from shoal_contract.ids import TensorName
from shoal_contract.wire import WireValue

MAX_SIDE_PIXELS: Final = 8192
MAX_PIXELS: Final = 64 * 1024 * 1024
"""The largest image that a manifest may let a device decode; a device bounds it further."""
DEFAULT_MAX_PIXELS: Final = 24 * 1024 * 1024
MAX_FEATURES: Final = 16_384
MAX_VOCABULARY: Final = 16_384
MAX_WIDTH: Final = 65_536
"""Numbers in one row of a tabular input: features, and a place for each word of those that are one-hot."""
MAX_CLASSES: Final = 1024
MAX_BOXES: Final = 1024

Colour = Literal["RGB", "BGR", "GREY"]
Filter = Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]
Fit = Literal["stretch", "crop", "letterbox"]
Layout = Literal["NCHW", "NHWC"]
Activation = Literal["none", "softmax", "sigmoid"]
CHANNELS: Final[dict[Colour, int]] = {"RGB": 3, "BGR": 3, "GREY": 1}
_Side = Annotated[int, Field(ge=1, le=MAX_SIDE_PIXELS)]
_Column = Annotated[str, Field(min_length=1, max_length=128)]
_Word = Annotated[str, Field(max_length=128)]


class Resize(WireValue):
    """Bring an image to one size.

    `stretch` changes its proportions. `crop` scales it until both sides are covered and keeps the middle. `letterbox`
    scales it until it fits and fills the rest. Filters are those of Pillow, which widen with the scale (antialiasing).
    """

    width: _Side
    height: _Side
    fit: Fit = "stretch"
    filter: Filter = "bilinear"
    shorter_side: _Side | None = None
    """With `crop`: the shorter side is scaled to this first, whatever is kept of it then; none: as little as covers."""
    fill: int = Field(default=0, ge=0, le=255)
    """With `letterbox`: the value around the image, in each channel."""

    @model_validator(mode="after")
    def _check_shorter_side(self) -> Self:
        if self.shorter_side is not None and (self.fit != "crop" or self.shorter_side < max(self.width, self.height)):
            msg = (
                f"shorter_side is {self.shorter_side} with fit {self.fit} to {self.width} x {self.height}, expected "
                "fit crop and at least the larger of the two"
            )
            raise ValueError(msg)
        return self


class ImageInput(WireValue):
    """An input made of images in JPEG or PNG, one element of BYTES a sample.

    In this order: decode, turn upright (EXIF), colours, resize, `(pixel * scale - mean) / std`, cast to the input's
    datatype, layout. A cast to whole numbers rounds half to even and keeps to the datatype's range.
    """

    kind: Literal["image"] = "image"
    colour: Colour = "RGB"
    resize: Resize | None = None
    """None: images have the model's size already, or it takes any and gets them one by one."""
    scale: float = Field(default=1.0, gt=0, le=1e6)
    """Of pixels from 0 to 255; 1/255 for a model that was trained on 0 to 1."""
    mean: tuple[float, ...] = Field(default=(), max_length=3)
    """For each channel in the order of `colour`, or one for all; none: 0."""
    std: tuple[Annotated[float, Field(gt=0, le=1e6)], ...] = Field(default=(), max_length=3)
    """Likewise; none: 1."""
    layout: Layout = "NCHW"
    max_pixels: int = Field(default=DEFAULT_MAX_PIXELS, ge=1, le=MAX_PIXELS)
    """A larger image is refused before it is decoded."""

    @model_validator(mode="after")
    def _check_channels(self) -> Self:
        channels = CHANNELS[self.colour]
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in {0, 1, channels}:
                msg = f"{name} has {len(values)} values for {self.colour}, expected 1 or {channels}"
                raise ValueError(msg)
        return self

    def misfit(self, shape: tuple[int, ...], datatype: str) -> str:
        """Return why what it makes can not be an input of this shape and datatype; empty if it can."""
        size = (-1, -1) if self.resize is None else (self.resize.height, self.resize.width)
        channels = CHANNELS[self.colour]
        made = (-1, channels, *size) if self.layout == "NCHW" else (-1, *size, channels)
        return _misfit(made, shape, datatype)


class NumberFeature(WireValue):
    """A column of numbers: fill, clip, then `(value - mean) / std`."""

    kind: Literal["number"] = "number"
    name: _Column
    fill: float | None = None
    """Stands for what is missing; none: a row without it is refused."""
    low: float | None = None
    high: float | None = None
    """What lies beyond counts as this."""
    mean: float = 0.0
    std: float = Field(default=1.0, gt=0)

    @property
    def width(self) -> int:
        """Numbers that it takes in the model's input."""
        return 1

    @model_validator(mode="after")
    def _check_range(self) -> Self:
        if self.low is not None and self.high is not None and self.low > self.high:
            msg = f"feature {self.name}: low {self.low} lies above high {self.high}"
            raise ValueError(msg)
        return self


class CategoryFeature(WireValue):
    """A column of words from a vocabulary: a 1 in the word's place among zeros, or the place itself as a number.

    Whole numbers count as their decimal digits, also from a column of fractions; true and false as these words.
    """

    kind: Literal["category"] = "category"
    name: _Column
    vocabulary: tuple[_Word, ...] = Field(min_length=1, max_length=MAX_VOCABULARY)
    encoding: Literal["one_hot", "ordinal"] = "one_hot"
    fill: _Word | None = None
    """Stands for what is missing; none: a row without it is refused."""
    unknown: Literal["refuse", "encode"] = "refuse"
    """Of a word outside of the vocabulary: refuse the row, or encode it as zeros or `unknown_code`."""
    unknown_code: int = Field(default=-1, ge=-1, le=MAX_VOCABULARY)

    @property
    def width(self) -> int:
        """Numbers that it takes in the model's input."""
        return len(self.vocabulary) if self.encoding == "one_hot" else 1

    @model_validator(mode="after")
    def _check_words(self) -> Self:
        if len(set(self.vocabulary)) != len(self.vocabulary):
            msg = f"feature {self.name}: a word stands twice in its vocabulary"
            raise ValueError(msg)
        if self.fill is not None and self.unknown == "refuse" and self.fill not in self.vocabulary:
            msg = f"feature {self.name}: fill {self.fill!r} is not in its vocabulary, and unknown words are refused"
            raise ValueError(msg)
        return self


Feature = Annotated[NumberFeature | CategoryFeature, Field(discriminator="kind")]


class TabularInput(WireValue):
    """An input of shape (batch, width) made of named columns, in the order of `features`."""

    kind: Literal["tabular"] = "tabular"
    features: tuple[Feature, ...] = Field(min_length=1, max_length=MAX_FEATURES)

    @property
    def width(self) -> int:
        """Numbers in one row of the input."""
        return sum(feature.width for feature in self.features)

    @model_validator(mode="after")
    def _check_width(self) -> Self:
        if self.width > MAX_WIDTH:
            msg = f"the features take {self.width} numbers a row, at most {MAX_WIDTH} allowed"
            raise ValueError(msg)
        return self

    def misfit(self, shape: tuple[int, ...], datatype: str) -> str:
        """Return why what it makes can not be an input of this shape and datatype; empty if it can."""
        return _misfit((-1, self.width), shape, datatype)


class ClassesOutput(WireValue):
    """An output of shape (batch, classes): the best classes, by the manifest's labels where it has as many."""

    kind: Literal["classes"] = "classes"
    activation: Activation = "none"
    """Makes probabilities of scores first."""
    top: int = Field(default=1, ge=1, le=MAX_CLASSES)
    """So many classes at most, the best first; of equal ones the first."""
    threshold: float | None = None
    """Only classes whose score is at least this."""


class NumbersOutput(WireValue):
    """An output of numbers: activation, then `value * scale + offset`, clip, and whether it reaches a threshold."""

    kind: Literal["numbers"] = "numbers"
    activation: Activation = "none"
    """A softmax goes over the last axis."""
    scale: float = 1.0
    offset: float = 0.0
    low: float | None = None
    high: float | None = None
    threshold: float | None = None


class BoxesOutput(WireValue):
    """An output of shape (batch, boxes, 4), with scores in another one of (batch, boxes, classes): what is seen where.

    Of boxes of one class that overlap, the best stays (greedy non-maximum suppression); places are given in pixels of
    the image that came, whatever was done to its size.
    """

    kind: Literal["boxes"] = "boxes"
    scores: TensorName
    """The output with the scores."""
    form: Literal["xyxy", "cxcywh"] = "xyxy"
    """Corners, or middle and size."""
    unit: Literal["pixels", "ratio"] = "pixels"
    """Of the model's input, or of its sides from 0 to 1."""
    activation: Literal["none", "sigmoid", "softmax"] = "none"
    """Of the scores."""
    score_threshold: float = Field(default=0.25, ge=0, le=1)
    overlap_threshold: float = Field(default=0.45, ge=0, le=1)
    """Intersection over union above which the weaker of two is dropped."""
    top: int = Field(default=100, ge=1, le=MAX_BOXES)


Input = Annotated[ImageInput | TabularInput, Field(discriminator="kind")]
Output = Annotated[ClassesOutput | NumbersOutput | BoxesOutput, Field(discriminator="kind")]


class Processing(WireValue):
    """What travels with a model: how its inputs are made, and what its outputs mean, by the tensors' names."""

    inputs: dict[TensorName, Input] = Field(default_factory=dict, max_length=16)
    outputs: dict[TensorName, Output] = Field(default_factory=dict, max_length=16)


def _misfit(made: tuple[int, ...], shape: tuple[int, ...], datatype: str) -> str:
    """Compare shapes, in which -1 stands for any size; the first size is the batch, of which any is made."""
    if datatype in {"BYTES", "BOOL"}:
        return f"its datatype is {datatype}, numbers are made"
    fits = len(made) == len(shape) and all(-1 in pair or pair[0] == pair[1] for pair in zip(made, shape, strict=True))
    return "" if fits else f"its shape is {list(shape)}, {list(made)} is made"
