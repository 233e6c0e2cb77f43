"""Sees before a step that its input can be compressed, and after it that its output is a model that devices load."""

from shoal_compression.errors import TechniqueError
from shoal_compression.keras_file import check_keras
from shoal_compression.litert_file import check_litert
from shoal_compression.model import Model
from shoal_compression.onnx_file import check_onnx
from shoal_compression.running import load
from shoal_compression.torch_file import check_torch


def check_weights(model: Model) -> None:
    """See that a model has its weights inside, all finite, and of Keras no code of its own.

    Raises:
        SourceError: The file is none, keeps weights elsewhere, or a weight is NaN or infinite.
    """
    if model.form == "keras":
        check_keras(model.content)
    if model.form == "tflite":
        check_litert(model.content)
    if model.form == "torch":
        check_torch(model.content)
    if model.form == "onnx":
        check_onnx(model.content)


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
    try:
        load(model)
    except TechniqueError as error:
        msg = f"{doing}: what it made does not load: {str(error.__cause__)[:500]}"
        raise TechniqueError(f"{msg}; leave this step out, or report the model's operators") from error
