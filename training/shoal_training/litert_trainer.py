"""Exports a Keras model as a LiteRT file that can train itself on a device with ai-edge-litert alone.

Signatures: `train` (x, y, lr → loss), `infer` (x → probabilities), `get_weights` (→ 000, 001, …) and
`set_weights` (000, 001, … → count). Save and Restore operators do not run there, so weights go through NumPy.
"""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from shoal_training.errors import ExportError
from shoal_training.litert_operators import conv2d, relu
from shoal_training.tensorflow_runtime import load_tensorflow, quiet_conversion
from shoal_training.weights import weight_key

Tensor = Any
"""A tf.Tensor; TensorFlow has no types."""
Step = Callable[[Tensor], Tensor]


def export_trainer(model: Any, path: Path, batch_size: int) -> None:  # noqa: ANN401  (a keras.Sequential)
    """Write the trainer of `model`, which starts from the model's present weights.

    `train` takes x (batch_size, …) float32, y (batch_size,) int32 and lr () float32, does one step of plain SGD on
    the mean cross-entropy, and returns the loss () float32 before the step. Rows with label -1 fill a short batch:
    they count neither in the loss nor in the step. `infer` takes any number of rows.

    Args:
        model: Conv2D, Dense and Flatten layers in a row, with relu between and softmax at the end.
        path: The `.tflite` file to write.
        batch_size: Rows of one training batch; fixed, because a gradient of a convolution needs constant shapes.

    Raises:
        ExportError: The model has a layer or setting that the trainer cannot express.
    """
    tf = load_tensorflow()
    module = tf.Module()
    module.trained = [tf.Variable(variable.value.numpy()) for variable in model.trainable_variables]
    steps = list(_steps(model, iter(module.trained)))
    signatures = _signatures(steps, module.trained, batch_size, model.input_shape[1:], model.output_shape[-1])
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    with quiet_conversion(), tempfile.TemporaryDirectory() as folder:
        concrete = {name: function.get_concrete_function() for name, function in signatures.items()}
        tf.saved_model.save(module, folder, signatures=concrete, options=options)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=sorted(signatures))
        converter.experimental_enable_resource_variables = True
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        path.write_bytes(converter.convert())


def _signatures(
    steps: list[Step], variables: list[Any], batch_size: int, input_shape: tuple[int, ...], classes: int
) -> dict[str, Any]:
    """Make the four tf.functions."""
    tf = load_tensorflow()

    def logits(x: Tensor) -> Tensor:
        for step in steps:
            x = step(x)
        return x

    def train(x: Tensor, y: Tensor, lr: Tensor) -> dict[str, Tensor]:
        with tf.GradientTape() as tape:
            truth = tf.one_hot(y, classes)  # label -1 gives a row of zeros
            counted = tf.maximum(tf.reduce_sum(truth), 1.0)
            loss = -tf.reduce_sum(truth * tf.nn.log_softmax(logits(x))) / counted
        for variable, gradient in zip(variables, tape.gradient(loss, variables), strict=True):
            variable.assign_sub(lr * gradient)
        return {"loss": loss}

    def infer(x: Tensor) -> dict[str, Tensor]:
        return {"probabilities": tf.nn.softmax(logits(x))}

    def read() -> dict[str, Tensor]:
        return {weight_key(i): variable.read_value() for i, variable in enumerate(variables)}

    def write(*weights: Tensor) -> dict[str, Tensor]:
        for variable, weight in zip(variables, weights, strict=True):
            variable.assign(weight)
        return {"count": tf.constant(len(weights))}

    batch = tf.TensorSpec((batch_size, *input_shape), tf.float32, "x")
    labels, rate = tf.TensorSpec((batch_size,), tf.int32, "y"), tf.TensorSpec((), tf.float32, "lr")
    rows = tf.TensorSpec((None, *input_shape), tf.float32, "x")
    arrays = [tf.TensorSpec(v.shape, tf.float32, weight_key(i)) for i, v in enumerate(variables)]
    return {
        "train": tf.function(train, input_signature=[batch, labels, rate]),
        "infer": tf.function(infer, input_signature=[rows]),
        "get_weights": tf.function(read, input_signature=[]),
        "set_weights": tf.function(write, input_signature=arrays),
    }


def _steps(model: Any, variables: Iterator[Any]) -> Iterator[Step]:  # noqa: ANN401  (a keras.Sequential)
    """Translate the layers; the last one's softmax is left to loss and `infer`."""
    for layer in model.layers:
        kind, is_last = type(layer).__name__, layer is model.layers[-1]
        if kind not in _TRANSLATIONS:
            supported = ", ".join(sorted(_TRANSLATIONS))
            raise ExportError(f"exporting a trainer: layer {layer.name} is a {kind}; supported are {supported}")
        activation = layer.activation.__name__ if hasattr(layer, "activation") else "linear"
        if activation not in ({"softmax"} if is_last else {"relu", "linear"}):
            expected = "softmax" if is_last else "relu or linear"
            raise ExportError(
                f"exporting a trainer: layer {layer.name} has the activation {activation}, expected {expected}"
            )
        yield _TRANSLATIONS[kind](layer, variables)
        if activation == "relu":
            yield relu


def _convolution(layer: Any, variables: Iterator[Any]) -> Step:  # noqa: ANN401  (a keras layer)
    (stride, other), padding = layer.strides, layer.padding.upper()
    plain = layer.use_bias and layer.groups == 1 and layer.dilation_rate == (1, 1) and stride == other
    if not plain or padding not in {"SAME", "VALID"} or layer.data_format != "channels_last":
        raise ExportError(
            f"exporting a trainer: convolution {layer.name} needs a bias, one group, no dilation, equal strides, "
            "padding same or valid, and channels last"
        )
    kernel, bias = next(variables), next(variables)
    return lambda x: conv2d(x, kernel, stride, padding) + bias


def _dense(layer: Any, variables: Iterator[Any]) -> Step:  # noqa: ANN401  (a keras layer)
    if not layer.use_bias:
        raise ExportError(f"exporting a trainer: layer {layer.name} has no bias, which the trainer needs")
    tf = load_tensorflow()
    kernel, bias = next(variables), next(variables)
    return lambda x: tf.matmul(x, kernel) + bias


def _flatten(layer: Any, _variables: Iterator[Any]) -> Step:  # noqa: ANN401  (a keras layer)
    tf = load_tensorflow()
    features = layer.output.shape[-1]
    return lambda x: tf.reshape(x, [-1, features])


_TRANSLATIONS: dict[str, Callable[[Any, Iterator[Any]], Step]] = {
    "Conv2D": _convolution,
    "Dense": _dense,
    "Flatten": _flatten,
}
