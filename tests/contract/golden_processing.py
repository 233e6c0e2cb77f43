"""Manifests of versions that say how their inputs are made and what their outputs mean, see `golden_messages`."""

from shoal_contract.manifest import TensorSpec, VersionManifest
from shoal_contract.processing import (
    BoxesOutput,
    CategoryFeature,
    ClassesOutput,
    ImageInput,
    NumberFeature,
    NumbersOutput,
    Processing,
    Resize,
    TabularInput,
)


def image_manifest(base: VersionManifest) -> VersionManifest:
    """One image, and what is seen where in it."""
    return base.model_copy(
        update={
            "inputs": (TensorSpec(name="image", datatype="FP32", shape=(-1, 3, 32, 48)),),
            "baseline": base.baseline.model_copy(update={"features_of": "statistics"}),
            "outputs": (
                TensorSpec(name="scores", datatype="FP32", shape=(-1, 2)),
                TensorSpec(name="boxes", datatype="FP32", shape=(-1, 20, 4)),
                TensorSpec(name="box scores", datatype="FP32", shape=(-1, 20, 2)),
            ),
            "processing": Processing(
                inputs={"image": _image()},
                outputs={
                    "scores": ClassesOutput(activation="softmax", top=2, threshold=0.125),
                    "boxes": BoxesOutput(
                        scores="box scores",
                        form="cxcywh",
                        unit="ratio",
                        activation="sigmoid",
                        score_threshold=0.5,
                        overlap_threshold=0.25,
                        top=10,
                    ),
                },
            ),
        }
    )


def table_manifest(base: VersionManifest) -> VersionManifest:
    """A row of a table and an image beside it, and a number."""
    features = (
        NumberFeature(name="weight", fill=2.5, low=0.5, high=40.0, mean=8.0, std=2.0),
        CategoryFeature(name="colour", vocabulary=("red", "green"), fill="red", unknown="encode"),
        CategoryFeature(
            name="place", vocabulary=("north", "south"), encoding="ordinal", unknown="encode", unknown_code=2
        ),
    )
    picture = ImageInput(colour="GREY", resize=Resize(width=8, height=8, fit="letterbox", fill=114), layout="NHWC")
    return base.model_copy(
        update={
            "inputs": (
                TensorSpec(name="row", datatype="FP32", shape=(-1, 4)),
                TensorSpec(name="image", datatype="UINT8", shape=(-1, 8, 8, 1)),
            ),
            "outputs": (TensorSpec(name="price", datatype="FP32", shape=(-1, 1)),),
            "processing": Processing(
                inputs={"row": TabularInput(features=features), "image": picture},
                outputs={
                    "price": NumbersOutput(
                        activation="sigmoid", scale=100.0, offset=5.0, low=10.0, high=90.0, threshold=50.0
                    )
                },
            ),
        }
    )


def _image() -> ImageInput:
    return ImageInput(
        colour="BGR",
        resize=Resize(width=48, height=32, fit="crop", filter="bicubic", shorter_side=64),
        scale=0.5,
        mean=(0.5, 0.25, 0.125),
        std=(2.0,),
        layout="NCHW",
        max_pixels=1_000_000,
    )
