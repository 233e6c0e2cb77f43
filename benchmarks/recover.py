"""What is got back where naive int8 fails: a network of depthwise convolutions whose channels differ in scale.

The trained network of MobileNetV2's shape computes the same before and after its channels were made uneven. Each recipe
and each peer gets the same file and calibration samples. Run as `python benchmarks/recover.py`; prints JSON lines.
"""

import argparse
import sys
from pathlib import Path
from typing import Final

ROOT = Path(__file__).parents[1]
FOLDERS = ("contract", "numerics", "agent", "training", "compression", "benchmarks")
sys.path[:0] = [str(ROOT), *(str(ROOT / folder) for folder in FOLDERS)]

from compression_parts import models, peers  # noqa: E402 - after the path
from compression_parts.lines import line  # noqa: E402 - after the path
from compression_parts.outliers import uneven  # noqa: E402 - after the path

from shoal_compression.budget import Budget  # noqa: E402 - after the path
from shoal_compression.comparing import accuracy  # noqa: E402 - after the path
from shoal_compression.data import Data  # noqa: E402 - after the path
from shoal_compression.errors import TechniqueError  # noqa: E402 - after the path
from shoal_compression.model import Model  # noqa: E402 - after the path
from shoal_compression.running import scores_of  # noqa: E402 - after the path
from shoal_compression.technique import Technique  # noqa: E402 - after the path
from shoal_compression.techniques.quantize.adaround import AdaRound  # noqa: E402 - after the path
from shoal_compression.techniques.quantize.bias_correct import BiasCorrect  # noqa: E402 - after the path
from shoal_compression.techniques.quantize.equalise import Equalise  # noqa: E402 - after the path
from shoal_compression.techniques.quantize.mixed import Mixed  # noqa: E402 - after the path
from shoal_compression.techniques.quantize.static import Int8Static  # noqa: E402 - after the path

RECIPES: Final[dict[str, tuple[Technique, ...]]] = {
    "int8_static": (Int8Static(),),
    "equalise": (Equalise(), Int8Static()),
    "equalise_bias_correct": (Equalise(), BiasCorrect()),
    "mixed": (Mixed(),),
}
LONG: Final[dict[str, tuple[Technique, ...]]] = {"equalise_adaround": (Equalise(), AdaRound())}
CHOSEN: Final = "equalise_bias_correct"
"""The one that the goal is counted on; the others show where it comes from."""
LEAST_RECOVERED, LEAST_LOST, DOUBLINGS = 0.9, 5.0, 5.0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="learned rounding as well, some minutes more")
    options = parser.parse_args()
    original, data = models.load("mobilenet")
    model = uneven(original, DOUBLINGS)
    whole = _accuracy(model, data)
    naive = _accuracy(peers.by_onnxruntime(model, data), data)
    lost = whole - naive
    line(
        "recover_naive_lost", "points", 100 * lost, None, "the float model", len(data.test),
        f">= {LEAST_LOST}, or there is nothing to recover", 100 * lost >= LEAST_LOST,
        float_accuracy=whole, before_its_channels_were_uneven=_accuracy(original, data),
    )  # fmt: skip
    theirs = (_accuracy(peers.by_nncf(model, data), data) - naive) / lost
    for name, steps in (RECIPES | (LONG if options.full else {})).items():
        try:
            reached = _apply(steps, model, data)
        except TechniqueError as error:  # a recipe says when it is none for such a network
            line(
                f"recover_{name}", "of the loss", None, theirs, peers.NNCF, len(data.test), "none: for comparison",
                False if name == CHOSEN else None, refused=str(error),
            )  # fmt: skip
            continue
        ours, is_goal = (reached - naive) / lost, name == CHOSEN
        goal = f">= {LEAST_RECOVERED}" if is_goal else "none: for comparison"
        holds = ours >= LEAST_RECOVERED if is_goal else None
        rows = len(data.test)
        line(f"recover_{name}", "of the loss", ours, theirs, peers.NNCF, rows, goal, holds, accuracy=reached)


def _apply(steps: tuple[Technique, ...], model: Model, data: Data) -> float:
    for step in steps:
        model = step.apply(model, data, Budget())
    return _accuracy(model, data)


def _accuracy(model: Model, data: Data) -> float:
    assert data.test.labels is not None
    return accuracy(scores_of(model, data.test), data.test.labels)


if __name__ == "__main__":
    main()
