"""Sees before a step that its input can be compressed, and after it that its output is a model that devices load."""

import numpy as np

from shoal_compression.errors import SourceError, TechniqueError
from shoal_compression.keras_file import check_keras
from shoal_compression.model import Model
from shoal_compression.running import load


def check_weights(model: Model) -> None:
    """See that an ONNX or Keras model has its weights inside, all finite, and of Keras no code of its own.

    Raises:
        SourceError: The file is none, keeps weights elsewhere, or a weight is NaN or infinite.
    """
    if model.form == "keras":
        check_keras(model.content)
    if model.form == "onnx":
        _check_onnx(model)


def _check_onnx(model: Model) -> None:
    import onnx
    from onnx import external_data_helper, numpy_helper

    try:
        proto = onnx.load_from_string(model.content)
    except Exception as error:  # protobuf's error has no public name
        raise SourceError(f"reading an ONNX model: {error}; give a file that onnx.checker takes") from error
    for tensor in proto.graph.initializer:
        if external_data_helper.uses_external_data(tensor):
            found = f"the weight {tensor.name} is in another file, expected all in one"
            raise SourceError(f"reading an ONNX model: {found}; save it with save_as_external_data=False")
        values = numpy_helper.to_array(tensor)
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            found = f"the weight {tensor.name} has nan or infinity in {int((~np.isfinite(values)).sum())} places"
            raise SourceError(f"reading an ONNX model: {found}; train it again, with a lower learning rate")


def check_result(model: Model, doing: str) -> None:
    """See that what a step has made is valid, and loads by its runtime with the names that it had.

    Raises:
        TechniqueError: It is not, or does not.
    """
    if model.form == "onnx":
        import onnx

        try:
            onnx.checker.check_model(onnx.load_from_string(model.content))
        except Exception as error:  # as above
            msg = f"{doing}: the graph that it made is not valid: {str(error)[:500]}"
            raise TechniqueError(f"{msg}; leave this step out, or report the model's operators") from error
    load(model)
