"""The models that compression is measured with: four networks and a tree trained here once, three that came trained.

`python benchmarks/compression_parts/models.py` makes them all, in about ten minutes of one core.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

ROOT: Final = Path(__file__).parents[2]
FOLDERS = ("contract", "numerics", "agent", "training", "compression", "benchmarks")
sys.path[:0] = [str(ROOT), *(str(ROOT / folder) for folder in FOLDERS)]

from compression_parts import asked, datasets, networks  # noqa: E402 - after the path

from shoal_compression.comparing import accuracy  # noqa: E402 - after the path
from shoal_compression.data import Data  # noqa: E402 - after the path
from shoal_compression.model import Form, Model  # noqa: E402 - after the path
from shoal_compression.running import scores_of  # noqa: E402 - after the path
from shoal_contract.manifest import TensorSpec  # noqa: E402 - after the path
from shoal_training.tensorflow_runtime import load_keras, load_tensorflow  # noqa: E402 - after the path

FOLDER: Final = ROOT / ".cache" / "bench" / "compression"
PACKAGES = ("--no-deps", "magika==1.0.3", "rapidocr==3.10.0", "silero-vad==6.2.3")
BATCH, RATE = 128, 2e-3
TREE_ROUNDS, TREE_LEAVES = 40, 31


class _Network(NamedTuple):
    build: Callable[[], Any]
    split: Callable[[], datasets.Split]
    input: str
    shape: tuple[int, ...]
    classes: int
    epochs: int


class _Bundled(NamedTuple):
    file: str
    inputs: tuple[tuple[str, str, tuple[int, ...]], ...]
    outputs: tuple[tuple[str, str, tuple[int, ...]], ...]


NETWORKS: Final = {
    "mnist_cnn": _Network(networks.cnn, datasets.mnist, "image", (28, 28, 1), 10, 3),
    "mobilenet": _Network(networks.mobilenet, datasets.mnist, "image", (28, 28, 1), 10, 3),
    "accelerometer": _Network(networks.one_dimensional, datasets.accelerometer, "window", (50, 6), 4, 40),
    "transformer": _Network(networks.transformer, datasets.mnist, "image", (28, 28, 1), 10, 4),
}
BUNDLED: Final = {
    "vad": _Bundled(
        "silero_vad/data/silero_vad_16k_sequence.onnx",
        (("input", "FP32", (-1, 576)), ("h", "FP32", (1, 1, 128)), ("c", "FP32", (1, 1, 128))),
        (("speech_probs", "FP32", (-1,)), ("hn", "FP32", (1, 1, 128)), ("cn", "FP32", (1, 1, 128))),
    ),
    "orientation": _Bundled(
        "rapidocr/models/ch_ppocr_mobile_v2.0_cls_mobile.onnx",
        (("x", "FP32", (-1, 3, 48, 192)),),
        (("save_infer_model/scale_0.tmp_1", "FP32", (-1, 2)),),
    ),
    "filetype": _Bundled(
        "magika/models/standard_v3_3/model.onnx",
        (("bytes", "INT32", (-1, 2048)),),
        (("target_label", "FP32", (-1, 214)),),
    ),
}
TREE: Final = "tree"
NAMES: Final = (*NETWORKS, TREE, *BUNDLED)


def load(name: str, folder: Path = FOLDER, form: Form = "onnx") -> tuple[Model, Data]:
    """Return a model of `NAMES` and its data; made and kept in `folder` where it is not there yet.

    Args:
        name: Of `NAMES`.
        folder: Where models are kept.
        form: `onnx`, or `keras` of a network that was trained here.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if name in NETWORKS:
        return _network(name, folder, form)
    assert form == "onnx", f"{name} is there as onnx alone"
    return _tree(folder) if name == TREE else _bundled(name)


def _network(name: str, folder: Path, form: Form) -> tuple[Model, Data]:
    told = NETWORKS[name]
    split = told.split()
    path = folder / f"{name}.{form}"
    if not path.exists():
        _train(name, told, split, folder)
    inputs = (TensorSpec(name=told.input, datatype="FP32", shape=(-1, *told.shape)),)
    outputs = (TensorSpec(name="probabilities", datatype="FP32", shape=(-1, told.classes)),)
    return Model(form, path.read_bytes(), inputs, outputs), split.data(told.input)


def _train(name: str, told: _Network, split: datasets.Split, folder: Path) -> None:
    """Train a network with a rate that falls as a cosine, and write it as Keras and as ONNX."""
    from shoal_training import onnx_export

    tf, keras = load_tensorflow(), load_keras()
    if not tf.config.threading.get_intra_op_parallelism_threads():
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    keras.utils.set_random_seed(0)
    network = told.build()
    batch = min(BATCH, len(split.train_x) // 10)
    steps = told.epochs * (len(split.train_x) // batch)
    rate = keras.optimizers.schedules.CosineDecay(0.0, steps, warmup_target=RATE, warmup_steps=steps // 20)
    network.compile(keras.optimizers.Adam(rate), keras.losses.SparseCategoricalCrossentropy())
    network.fit(split.train_x, split.train_y, batch_size=batch, epochs=told.epochs, verbose=0)
    parts = [folder / f"{name}.part.{form}" for form in ("onnx", "keras")]
    onnx_export.export_onnx(network, parts[0], split.test_x[:64], (told.input, "probabilities"))
    network.save(parts[1])
    for part, form in zip(parts, ("onnx", "keras"), strict=True):
        part.rename(folder / f"{name}.{form}")


def _tree(folder: Path) -> tuple[Model, Data]:
    """Return a gradient-boosted tree on pooled MNIST, with its probabilities as first output."""
    split, path = datasets.pooled_mnist(), folder / "tree.onnx"
    if not path.exists():
        from skl2onnx import to_onnx
        from sklearn.ensemble import HistGradientBoostingClassifier

        tree = HistGradientBoostingClassifier(
            max_iter=TREE_ROUNDS, max_leaf_nodes=TREE_LEAVES, learning_rate=0.2, early_stopping=False, random_state=0
        )
        tree.fit(split.train_x, split.train_y)
        proto = to_onnx(tree, split.train_x[:1], options={"zipmap": False}, target_opset={"": 17, "ai.onnx.ml": 3})
        label, probabilities = proto.graph.output
        answers = [(probabilities.name, "probabilities"), (label.name, "label")]
        for node in proto.graph.node:
            node.output[:] = [dict(answers).get(one, one) for one in node.output]
            node.input[:] = [dict(answers).get(one, one) for one in node.input]
        label.name, probabilities.name = "label", "probabilities"
        ordered = [type(label).FromString(one.SerializeToString()) for one in (probabilities, label)]
        del proto.graph.output[:]
        proto.graph.output.extend(ordered)
        path.write_bytes(proto.SerializeToString())
    inputs = (TensorSpec(name="X", datatype="FP32", shape=(-1, 196)),)
    outputs = (
        TensorSpec(name="probabilities", datatype="FP32", shape=(-1, 10)),
        TensorSpec(name="label", datatype="INT64", shape=(-1,)),
    )
    return Model("onnx", path.read_bytes(), inputs, outputs), split.data("X")


def _bundled(name: str) -> tuple[Model, Data]:
    from tests.environments import environment

    told = BUNDLED[name]
    [packages] = environment("model-files", *PACKAGES).parents[1].glob("lib/python*/site-packages")
    path = packages / told.file
    make = {"vad": lambda: asked.sounds(path), "orientation": asked.lines, "filetype": asked.files}[name]
    inputs, outputs = (tuple(_spec(*one) for one in part) for part in (told.inputs, told.outputs))
    return Model("onnx", path.read_bytes(), inputs, outputs), datasets.kept_samples(name, make)


def _spec(name: str, datatype: Any, shape: tuple[int, ...]) -> TensorSpec:  # noqa: ANN401 - one of the contract's
    return TensorSpec(name=name, datatype=datatype, shape=shape)


def main() -> None:
    """Make them all, and print how good each is."""
    for name in sys.argv[1:] or NAMES:
        began_s = time.monotonic()
        model, data = load(name)
        answers = scores_of(model, data.test)
        right = None if data.test.labels is None else accuracy(answers, data.test.labels)
        told = {"model": name, "bytes": model.size_bytes, "test": len(answers), "accuracy": right}
        print(json.dumps(told | {"s": round(time.monotonic() - began_s)}), flush=True)
        assert np.isfinite(answers).all()


if __name__ == "__main__":
    main()
