"""Quantization-aware training: weights and ranges are trained while they are rounded to int8."""

import logging
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from shoal_compression.budget import Budget
from shoal_compression.data import Data, Samples
from shoal_compression.errors import TechniqueError
from shoal_compression.model import Form, Model
from shoal_compression.technique import Progress, Technique
from shoal_compression.trainable.settings import Training

if TYPE_CHECKING:
    import onnx

    from shoal_numerics.tensors import Array


class QuantizeAware(Technique):
    """Train an int8 model in its QDQ form: rounding lets gradients through, and ranges are learnt with the weights.

    A float model is quantized first, by ONNX Runtime with ranges of the calibration samples and unsigned weights per
    channel; a model that is in QDQ form already keeps what was placed there. The model as it was, and `Data.teachers`
    where there are some, are the teachers.
    """

    technique: Literal["qat"] = "qat"
    calibration_samples: int = Field(default=256, ge=1, le=100_000)
    training: Training = Training(epochs=4, learning_rate=3e-4)
    takes: ClassVar[frozenset[Form]] = frozenset({"onnx"})
    trains: ClassVar[bool] = True
    tools: ClassVar[tuple[str, ...]] = ("onnx", "onnxruntime", "torch")

    def make(self, model: Model, data: Data, budget: Budget, progress: Progress) -> Model:
        """Return the int8 model.

        Raises:
            TechniqueError: It can not be quantized, or has operators that are not trained here.
        """
        from shoal_compression.techniques.quantize.simulated import learn_scales, simulated, written_back
        from shoal_compression.trainable.fitting import fit, training_samples
        from shoal_compression.trainable.graph import read_graph, weights_of
        from shoal_compression.trainable.network import Network, check_operators, repeatable
        from shoal_compression.trainable.objective import objective_of

        check_operators(read_graph(model))
        proto, floats = self._placed(model, data.calibration)
        quantized = model.with_content(proto.SerializeToString(deterministic=True), precision="int8")
        proto = read_graph(quantized)
        if self.training.epochs == 0:
            return quantized
        with repeatable(budget.seed, budget.threads):
            trained = model.with_content(simulated(proto, floats).SerializeToString())
            network = Network(trained, budget.accelerator, are_scales_trained=True)
            learn_scales(network)
            samples = training_samples(data, self.training, budget.seed)
            teachers = data.teachers or (model,)
            objective = objective_of(network, trained, samples, teachers, self.training, budget.threads)
            fit(network, trained, objective, budget, progress, self.name)
            made = written_back(proto, weights_of(network.written()))
        return model.with_content(made.SerializeToString(deterministic=True), precision="int8")

    def _placed(self, model: Model, samples: Samples) -> "tuple[onnx.ModelProto, dict[str, Array]]":
        """Return the graph in QDQ form, and the float weights that it was made of."""
        from shoal_compression.trainable.graph import read_graph

        proto = read_graph(model)
        if any(node.op_type == "QuantizeLinear" for node in proto.graph.node):
            return proto, {}
        chosen = samples.first(self.calibration_samples)
        try:
            return _quantized(proto, model, chosen)
        except Exception as error:  # the quantizer's errors share no base class
            doing = f"applying {self.name}: quantizing before training: {str(error)[:300]}"
            raise TechniqueError(
                f"{doing}; quantize with int8-static in a step before, or leave this one out"
            ) from error


def _quantized(proto: "onnx.ModelProto", model: Model, samples: Samples) -> "tuple[onnx.ModelProto, dict[str, Array]]":
    import onnx
    from onnxruntime import quantization as ort_quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    from shoal_compression.trainable.graph import weights_of

    class Reader(ort_quantization.CalibrationDataReader):  # type: ignore[misc]
        """Hands the samples to ONNX Runtime."""

        def __init__(self) -> None:
            self.feeds = samples.feeds(model)

        def get_next(self) -> dict[str, "Array"] | None:
            return next(self.feeds, None)

    before = logging.root.manager.disable
    logging.disable(logging.WARNING)  # it logs advice that is followed here already
    try:
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore", category=DeprecationWarning)
            source, prepared, out = (Path(folder) / f"{name}.onnx" for name in ("source", "prepared", "out"))
            source.write_bytes(proto.SerializeToString())
            quant_pre_process(source, prepared, skip_symbolic_shape=True)  # the symbolic part needs SymPy
            ort_quantization.quantize_static(
                prepared,
                out,
                Reader(),
                quant_format=ort_quantization.QuantFormat.QDQ,
                per_channel=True,
                activation_type=ort_quantization.QuantType.QUInt8,
                weight_type=ort_quantization.QuantType.QUInt8,
            )
            return onnx.load(out), weights_of(onnx.load(prepared))
    finally:
        logging.disable(before)
