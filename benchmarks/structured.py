"""Structured pruning with distillation: how much faster at batch 1, and how many points it costs on 10,000 images.

Beside it stand magnitude pruning at the same sparsity, and Torch-Pruning with the same training. Run as
`python benchmarks/structured.py`; prints JSON lines.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

ROOT = Path(__file__).parents[1]
FOLDERS = ("contract", "numerics", "agent", "training", "compression", "benchmarks")
sys.path[:0] = [str(ROOT), *(str(ROOT / folder) for folder in FOLDERS)]

from compression_parts.latency import Timed, side_by_side  # noqa: E402 - after the path
from compression_parts.lines import line, right  # noqa: E402 - after the path
from compression_parts.models import load  # noqa: E402 - after the path
from tests.environments import environment  # noqa: E402 - after the path

from shoal_compression.budget import Budget  # noqa: E402 - after the path
from shoal_compression.comparing import paired_difference  # noqa: E402 - after the path
from shoal_compression.data import Data, Samples  # noqa: E402 - after the path
from shoal_compression.model import Model  # noqa: E402 - after the path
from shoal_compression.running import scores_of  # noqa: E402 - after the path
from shoal_compression.techniques.distil.distil import Distil  # noqa: E402 - after the path
from shoal_compression.techniques.prune.channels import PruneChannels  # noqa: E402 - after the path
from shoal_compression.techniques.prune.magnitude import PruneMagnitude  # noqa: E402 - after the path
from shoal_compression.trainable.settings import Training  # noqa: E402 - after the path

PEER: Final = "torch-pruning==1.6.1"
OPERATIONS: Final = 0.25
"""Share of the multiplications that is left."""
RATE, BATCH = 2e-3, 128
LEAST_FASTER, MOST_LOST_POINTS = 2.0, 1.0
SHORT_SAMPLES = 20_000
BUDGET_S = 240.0


def main() -> None:
    """Compress, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="mnist_cnn", help="a network of compression_parts/models.py")
    parser.add_argument("--epochs", type=int, default=3, help="of training after pruning, with distillation")
    parser.add_argument("--samples", type=int, default=SHORT_SAMPLES, help="of MNIST's 60,000 to train on")
    parser.add_argument("--rounds", type=int, default=60, help="turns of timing")
    parser.add_argument("--no-peer", action="store_true", help="without Torch-Pruning")
    options = parser.parse_args()
    model, data = load(options.model)
    train = data.train
    assert train is not None
    data = replace(data, train=train.some(options.samples, 0), teachers=(model,))
    made = {"source": model, "ours": _pruned(model, data, options.epochs)}
    made["magnitude"] = _sparse(model, made["ours"], data, options.epochs)
    if not options.no_peer and options.model == "mnist_cnn":
        made["torch-pruning"] = _peer(model, data, options.epochs)
    times = side_by_side(made, data.test, options.rounds)
    _tell(options.model, made, data.test, times)


def _pruned(model: Model, data: Data, epochs: int) -> Model:
    """Prune channels, without training at first, and then learn from the source and the labels."""
    prune = PruneChannels(operations=OPERATIONS, importance="taylor", training=Training(epochs=0))
    distil = Distil(training=Training(epochs=epochs, batch=BATCH, learning_rate=RATE))
    smaller = prune.apply(model, data, Budget(), _progress)
    return distil.apply(smaller, data, Budget(BUDGET_S), _progress)


def _sparse(model: Model, ours: Model, data: Data, epochs: int) -> Model:
    """Prune as many weights by magnitude as ours has lost."""
    sparsity = 1 - ours.size_bytes / model.size_bytes
    technique = PruneMagnitude(sparsity=sparsity, training=Training(epochs=epochs, batch=BATCH, learning_rate=RATE))
    return technique.apply(model, data, Budget(BUDGET_S), _progress)


def _peer(model: Model, data: Data, epochs: int) -> Model:
    """Let Torch-Pruning do the same in a process of its own."""
    import onnx

    from shoal_compression.trainable.graph import weights_of

    train = data.train
    assert train is not None
    given: dict[str, Any] = {}
    for name, value in weights_of(onnx.load_from_string(model.content)).items():
        layer = next((one for one in ("conv1", "conv2", "hidden") if f"/{one}_" in name or f"/{one}/" in name), None)
        layer = layer or ("out" if "/probabilities" in name else None)
        if layer and value.dtype == np.float32:
            given[f"{layer}.{'weight' if value.ndim > 1 else 'bias'}"] = value
    answers = scores_of(model, train)
    given |= {"x": train.inputs["image"], "y": train.labels, "logits": np.log(np.maximum(answers, 1e-7))}
    given |= {"operations": OPERATIONS, "epochs": epochs, "batch": BATCH, "rate": RATE}
    [packages] = environment("torch-pruning", "--no-deps", PEER).parents[1].glob("lib/python*/site-packages")
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / "in.npz", Path(folder) / "out.onnx"
        np.savez(source, allow_pickle=False, **given)
        program = Path(__file__).parent / "compression_parts" / "pruning_peer.py"
        command = [sys.executable, str(program), str(source), str(out)]
        subprocess.run(command, check=True, stdout=sys.stderr, env=os.environ | {"PYTHONPATH": str(packages)})
        return replace(model, content=out.read_bytes())


def _tell(name: str, made: dict[str, Model], test: Samples, times: dict[str, Timed]) -> None:
    labels = test.labels
    assert labels is not None
    is_right = {key: right(scores_of(model, test), labels) for key, model in made.items()}
    is_counted = len(labels) >= 5_000  # noqa: PLR2004 - from so many rows on, points are a goal
    ours = times["ours"].faster
    for peer in [key for key in made if key not in {"source", "ours"}]:
        line(
            f"structured_speed_{name}",
            "times as fast as the source at batch 1",
            ours,
            times[peer].faster,
            peer,
            None,
            f">= {LEAST_FASTER}",
            ours >= LEAST_FASTER,
            digits=3,
            p50_ms={key: round(one.p50_ms, 4) for key, one in times.items()},
            bytes={key: model.size_bytes for key, model in made.items()},
        )
        lost = {key: paired_difference(is_right["source"], is_right[key]) for key in ("ours", peer)}
        points = {key: -100 * one.value for key, one in lost.items()}
        interval = [round(-100 * lost["ours"].high, 3), round(-100 * lost["ours"].low, 3)]
        line(
            f"structured_points_lost_{name}",
            "points",
            points["ours"],
            points[peer],
            peer,
            len(labels),
            f"<= {MOST_LOST_POINTS}",
            points["ours"] <= MOST_LOST_POINTS if is_counted else None,
            digits=3,
            interval_95=interval,
            accuracy={key: round(float(one.mean()), 4) for key, one in is_right.items()},
        )


def _progress(stage: str, done: int, total: int) -> None:
    print(f"{stage} {done}/{total}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
