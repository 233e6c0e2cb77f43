"""The model card of the digits model."""

from pathlib import Path

from shoal_training.digits.data import Split
from shoal_training.digits.model import CLASSES
from shoal_training.model_card import ModelCard, SliceMetric
from shoal_training.version_files import onnx_accuracy


def digits_card(onnx_path: Path, test: Split, author: str) -> ModelCard:
    """Return the card, with the float32 model's accuracy on each digit of the held-out samples."""
    return ModelCard(
        intended_use="Reading single handwritten digits in images of 8 by 8 grey levels; a demonstration of Shoal.",
        out_of_scope_use="Addresses, cheques or anything else where a wrong digit costs money or harms a person.",
        data="Optical Recognition of Handwritten Digits (Alpaydin and Kaynak, UCI 1998): digits of 43 people, scaled "
        "to 8 by 8. It leaves out other scripts, other ways of scanning, and everything that is not a digit.",
        metrics_by_slice=tuple(_accuracy(onnx_path, test, digit) for digit in range(CLASSES)),
        limits="It answers with some digit for any image. Accuracy falls on images that are shifted, rotated or of "
        "another contrast than those of the data.",
        ethical_notes="Handwriting of few people of one place; others' may be read worse.",
        licence="Apache-2.0",
        owner=author,
    )


def _accuracy(onnx_path: Path, test: Split, digit: int) -> SliceMetric:
    chosen = test.y == digit
    accuracy = onnx_accuracy(onnx_path, test.x[chosen], test.y[chosen]) if chosen.any() else 0.0
    return SliceMetric(slice=f"digit {digit}", metric="accuracy", value=accuracy, samples=int(chosen.sum()))
