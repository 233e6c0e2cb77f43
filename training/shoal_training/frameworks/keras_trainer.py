"""Networks trained by Keras 3 on TensorFlow, written as ONNX and as a `.keras` file that LiteRT is made of."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np

from shoal_training.bundle import KERAS_FILE
from shoal_training.errors import ExportError, NetworkError
from shoal_training.frameworks.keras_engine import KerasEngine
from shoal_training.frameworks.keras_networks import build_keras, scaled, scored
from shoal_training.frameworks.libraries import of_extra
from shoal_training.frameworks.litert_parity import check_litert
from shoal_training.frameworks.network_trainer import NetworkJob, NetworkTrainer
from shoal_training.frameworks.trainer import Fitted
from shoal_training.frameworks.training_loop import TrainingLoop
from shoal_training.onnx_export import written_onnx
from shoal_training.onnx_samples import Array
from shoal_training.tensorflow_runtime import load_keras, load_tensorflow, quiet_conversion
from shoal_training.transforms.step import Affine

_ASKED_AT_ONCE: Final = 1024
_BFLOAT16_SINCE: Final = (8, 0)
"""Compute capability of the first GPUs that have it."""


class Keras(NetworkTrainer):
    """A network of Keras 3. The number of CPU threads is TensorFlow's own."""

    framework: ClassVar[str] = "keras"

    litert: bool = True
    """Whether a `.keras` file is written for LiteRT, and what LiteRT makes of it has to be the same; for models
    without a transformation before them."""

    def _fit(self, job: NetworkJob) -> Fitted:
        with of_extra("tensorflow", "training with Keras"):
            keras, tf = load_keras(), load_tensorflow()
        context = job.context
        with _drawn_apart(), tf.device(_device(self.device)):
            keras.utils.set_random_seed(context.seed)
            policy = _policy(self.precision)
            network = build_keras(self.network, context.sources, job.shape, job.outputs, policy)
            if not network.trainable_variables:
                raise NetworkError(f"training {self.described()}: it has nothing to learn; give it layers with weights")
            is_scaled = policy == "mixed_float16"
            engine = KerasEngine(network, self, job.learned, job.measured, context.seed, is_scaled=is_scaled)
            facts = TrainingLoop(engine, job.plan, context).run()
            plain = network
            if policy != "float32":  # what is written computes in float32; weights are that all along
                plain = build_keras(self.network, context.sources, job.shape, job.outputs, "float32")
                plain.set_weights(network.get_weights())
        facts |= {"parameters": int(network.count_params()), "precision": policy}
        mean = job.mean if context.task == "regression" else None
        return FittedKeras(scored(plain, mean, job.deviation), facts, has_litert=self.litert)


class FittedKeras(Fitted):
    """A trained keras.Model, from `x` to `scores`."""

    def __init__(self, model: Any, facts: dict[str, Any], *, has_litert: bool) -> None:  # noqa: ANN401 - no types
        self.model, self.facts, self._has_litert = model, facts, has_litert

    def scores(self, x: Array) -> Array:
        """See `Fitted`."""
        given = np.asarray(x, dtype=np.float32)
        found = [
            self.model(given[first : first + _ASKED_AT_ONCE], training=False).numpy()
            for first in range(0, len(given), _ASKED_AT_ONCE)
        ]
        return np.asarray(np.concatenate(found), dtype=np.float32)

    def graph(self) -> Any:  # noqa: ANN401 - see `Fitted`
        """See `Fitted`."""
        self.model(np.zeros((2, *self.model.input_shape[1:]), dtype=np.float32))  # the exporter wants it called once
        with tempfile.TemporaryDirectory() as folder:
            try:
                return written_onnx(self.model, Path(folder) / "model.onnx", ("x", "scores"))
            except Exception as error:  # the exporter's errors share no base class
                said = (str(error).strip() or repr(error)).splitlines()[0][:500]
                raise ExportError(f"writing a network of Keras as ONNX: {said}; replace that layer") from error

    def write(self, folder: Path, input_name: str, x: Array, affine: Affine) -> tuple[str, ...]:
        """See `Fitted`."""
        if not self._has_litert:
            return ()
        with quiet_conversion():
            scaled(self.model, affine).save(folder / KERAS_FILE)
        prepared = x * np.array(affine.factor) + np.array(affine.shift)
        check_litert((folder / KERAS_FILE).read_bytes(), input_name, x, self.scores(prepared))
        return (KERAS_FILE,)


def _policy(precision: str) -> str:
    tf = load_tensorflow()
    gpus = tf.config.list_physical_devices("GPU")
    if precision == "auto":
        if not gpus:
            return "float32"
        able = tf.config.experimental.get_device_details(gpus[0]).get("compute_capability", (0, 0))
        return "mixed_bfloat16" if able >= _BFLOAT16_SINCE else "mixed_float16"
    if precision == "float16" and not gpus:
        raise NetworkError("training with float16 on a CPU: it is for GPUs; name bfloat16, or leave `precision` out")
    return precision if precision == "float32" else f"mixed_{precision}"


def _device(asked: str) -> str | None:
    """Return the name of the device for TensorFlow; None: as it chooses."""
    if asked == "cuda" and not load_tensorflow().config.list_physical_devices("GPU"):
        raise NetworkError("training on a GPU: TensorFlow finds none; set `device: auto`, or install it with CUDA")
    return "/CPU:0" if asked == "cpu" else None


@contextmanager
def _drawn_apart() -> Iterator[None]:
    """Keep the seed of NumPy that Keras sets from the rest of the process."""
    before = np.random.get_state()  # noqa: NPY002 - the global one is what Keras seeds
    try:
        yield
    finally:
        np.random.set_state(before)  # noqa: NPY002 - as above
