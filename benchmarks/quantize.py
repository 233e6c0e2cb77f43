"""Post-training int8, side by side with ONNX Runtime, NNCF and ai-edge-quantizer: what it costs, and what it saves.

Every quantizer gets the same float model and the same 512 calibration samples; accuracy is counted on the same held-out
rows. Run as `python benchmarks/quantize.py`; prints one JSON line a figure.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
FOLDERS = ("contract", "numerics", "agent", "training", "compression", "benchmarks")
sys.path[:0] = [str(ROOT), *(str(ROOT / folder) for folder in FOLDERS)]

from compression_parts import models, peers, sizes  # noqa: E402 - after the path
from compression_parts.lines import line, right  # noqa: E402 - after the path

from shoal_compression.budget import Budget  # noqa: E402 - after the path
from shoal_compression.comparing import (  # noqa: E402 - after the path
    Difference,
    agreement,
    paired_difference,
    sqnr_db,
)
from shoal_compression.data import Data  # noqa: E402 - after the path
from shoal_compression.errors import TechniqueError  # noqa: E402 - after the path
from shoal_compression.model import Model  # noqa: E402 - after the path
from shoal_compression.running import scores_of  # noqa: E402 - after the path
from shoal_compression.technique import Technique  # noqa: E402 - after the path
from shoal_compression.techniques import BY_NAME  # noqa: E402 - after the path
from shoal_compression.techniques.quantize.mixed import Mixed  # noqa: E402 - after the path
from shoal_numerics.tensors import Array  # noqa: E402 - after the path

OURS = Mixed(calibration="mse", granularity="where-needed", most_float=1.0, least_agreement=0.99, confidence=0.95)
"""Static int8. The most sensitive layers stay in float32 until 512 calibration samples show the
goal, at 95 % confidence."""
PLAIN = OURS.model_copy(update={"least_agreement": 0.994, "confidence": None})
"""Where no choice of layers is that sure: the goal and a standard error of 512 samples."""
MOST_LOST, MOST_BEHIND, LEAST_SMALLER, LEAST_AGREEMENT = 0.3, 0.1, 3.8, 0.99
FEWEST_ROWS = 5_000
"""Below it a goal in points says nothing."""
TREE_TECHNIQUE, TREE_SMALLER, TREE_LOST = "tree-compact", 2.0, 0.1


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=models.NAMES, help="of those in compression_parts/models.py")
    chosen = parser.parse_args().models
    for name in chosen:
        model, data = models.load(name)
        if name == models.TREE:
            _tree(model, data)
        elif name in models.BUNDLED:
            _pretrained(name, model, data)
        else:
            _network(name, model, data)


def _quantized(model: Model, data: Data) -> Model:
    try:
        return OURS.apply(model, data, Budget())
    except TechniqueError:
        return PLAIN.apply(model, data, Budget())


def _answers(model: Model, data: Data) -> Array:
    return scores_of(model, data.test)


def _network(name: str, model: Model, data: Data) -> None:
    """Print what a network that was trained here loses, beside every peer, and how much smaller its weights are."""
    reference = _answers(model, data)
    made = _quantized(model, data)
    answers = _answers(made, data)
    counts = len(answers) >= FEWEST_ROWS
    lost = paired_difference(right(reference, data.test.labels), right(answers, data.test.labels))
    told: dict[str, Any] = {
        "agreement": agreement(reference, answers),
        "sqnr_db": round(sqnr_db(reference, answers), 1),
    }
    line(
        f"quantize_{name}_points", "points", _points(lost.value), 0.0, "the float model", len(answers),
        f">= -{MOST_LOST}" + ("" if counts else f", counts from {FEWEST_ROWS} rows: >= {LEAST_AGREEMENT} agreement"),
        _points(lost.value) >= -MOST_LOST if counts else told["agreement"] >= LEAST_AGREEMENT,
        interval=_interval(lost), **told,
    )  # fmt: skip
    for peer, quantize in _peers(name, model, data).items():
        _beside(name, peer, quantize, reference, answers, data)
    now, was = sizes.weight_bytes(made)
    goal = f">= {LEAST_SMALLER} times smaller"
    line(f"quantize_{name}_weights", "times smaller", was / now, 1.0, "float32", was, goal, was / now >= LEAST_SMALLER)


def _peers(name: str, model: Model, data: Data) -> dict[str, Callable[[], Model]]:
    keras_model, _ = models.load(name, form="keras")
    return {
        peers.ORT: lambda: peers.by_onnxruntime(model, data),
        peers.NNCF: lambda: peers.by_nncf(model, data),
        peers.AI_EDGE: lambda: peers.by_ai_edge(keras_model, data),
    }


def _beside(name: str, peer: str, quantize: Callable[[], Model], reference: Array, answers: Array, data: Data) -> None:
    """Print how much better than a peer ours is. A peer that fails leaves no line to win: it says what failed."""
    key = f"quantize_{name}_beside_{peer.split(maxsplit=1)[0].split(chr(39), maxsplit=1)[0].lower()}"
    try:
        theirs = _answers(quantize(), data)
    except Exception as error:  # noqa: BLE001 - a peer may fail in any way
        line(key, "points", None, None, peer, 0, f">= -{MOST_BEHIND}", None, failed=repr(error)[-300:])
        return
    ahead = paired_difference(right(theirs, data.test.labels), right(answers, data.test.labels))
    goal, holds = f">= -{MOST_BEHIND} of it", _points(ahead.value) >= -MOST_BEHIND
    if len(answers) < FEWEST_ROWS:
        ours, peers_share = agreement(reference, answers), agreement(reference, theirs)
        line(
            key,
            "agreement",
            ours,
            peers_share,
            peer,
            len(answers),
            ">= the peer's - 0.001",
            ours >= peers_share - 0.001,
        )
        return
    told: dict[str, Any] = {
        "accuracy_peer": float(right(theirs, data.test.labels).mean()),
        "sqnr_db_peer": round(sqnr_db(reference, theirs), 1),
    }
    line(key, "points", _points(ahead.value), 0.0, peer, len(answers), goal, holds, interval=_interval(ahead), **told)


def _pretrained(name: str, model: Model, data: Data) -> None:
    """Print how often a pre-trained model names the same class once quantized, beside the peers that take ONNX."""
    reference = _answers(model, data)
    shares: dict[str, float] = {}
    failed: dict[str, str] = {}
    for peer, quantize in {peers.ORT: peers.by_onnxruntime, peers.NNCF: peers.by_nncf}.items():
        try:
            shares[peer] = agreement(reference, _answers(quantize(model, data), data))
        except Exception as error:  # noqa: BLE001 - as above
            failed[peer] = repr(error)[-300:]
    made = _quantized(model, data)
    answers = _answers(made, data)
    ours, best = agreement(reference, answers), max(shares, key=lambda one: shares[one], default=None)
    line(
        f"quantize_{name}_agreement", "of 1", ours, shares[best] if best else None, best or "none runs", len(answers),
        f">= {LEAST_AGREEMENT}", ours >= LEAST_AGREEMENT,
        sqnr_db=round(sqnr_db(reference, answers), 1), precision=made.precision,
        times_smaller=round(model.size_bytes / made.size_bytes, 2), peers=shares, failed=failed,
    )  # fmt: skip


def _tree(model: Model, data: Data) -> None:
    """Print what the tree's own technique saves and costs."""
    kind = BY_NAME.get(TREE_TECHNIQUE)
    goal = f">= {TREE_SMALLER} times smaller, at most {TREE_LOST} points lost"
    if kind is None:
        line("quantize_tree", "times smaller", None, 1.0, "the float tree", 0, goal, None)
        return
    technique: Technique = kind()
    made = technique.apply(model, data, Budget())
    lost = paired_difference(*(right(_answers(one, data), data.test.labels) for one in (model, made)))
    smaller = model.size_bytes / made.size_bytes
    holds = smaller >= TREE_SMALLER and _points(lost.value) >= -TREE_LOST
    told: dict[str, Any] = {"points": _points(lost.value), "interval": _interval(lost)}
    line("quantize_tree", "times smaller", smaller, 1.0, "the float tree", len(data.test), goal, holds, **told)


def _points(share: float) -> float:
    return round(100 * share, 3)


def _interval(difference: Difference) -> list[float]:
    return [_points(difference.low), _points(difference.high)]


if __name__ == "__main__":
    main()
