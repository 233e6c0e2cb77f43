"""Reads bare model files: their form by their suffix, and how they are called from the file itself."""

from pathlib import Path
from typing import Any, Final

import numpy as np

from shoal_compression.errors import MissingLibraryError, SourceError
from shoal_compression.extras import says_extra
from shoal_compression.model import SIGNATURE, Form, Model
from shoal_compression.onnx_session import open_onnx
from shoal_contract.manifest import Datatype, TensorSpec
from shoal_numerics.tensors import DATATYPES, ONNX_DATATYPES

SUFFIXES: Final[dict[str, Form]] = {".onnx": "onnx", ".tflite": "tflite", ".keras": "keras", ".pt2": "torch"}
Specs = tuple[TensorSpec, ...]


def read_model(path: Path) -> Model:
    """Read a model file.

    Raises:
        SourceError: It is missing, of another kind, or does not load.
        MissingLibraryError: The runtime of its form is not installed.
    """
    form = SUFFIXES.get(path.suffix)
    if form is None:
        known = ", ".join(SUFFIXES)
        raise SourceError(f"reading {path}: the suffix {path.suffix!r} found, expected one of {known}; export it so")
    read = {"onnx": _onnx, "tflite": _tflite, "keras": _keras, "torch": _torch}[form]
    try:
        with says_extra(f"reading {path}"):
            inputs, outputs = read(path)
    except (SourceError, MissingLibraryError):
        raise
    except Exception as error:  # the runtimes' errors share no base class
        raise SourceError(f"reading {path}: {str(error)[:500]}; give a file in the form {form} that loads") from error
    return Model(form, path.read_bytes(), inputs, outputs)


def _onnx(path: Path) -> tuple[Specs, Specs]:
    session = open_onnx(path.read_bytes())
    return _onnx_specs(path, session.get_inputs()), _onnx_specs(path, session.get_outputs())


def _onnx_specs(path: Path, found: list[Any]) -> Specs:
    for one in found:
        if ONNX_DATATYPES.get(one.type, "BYTES") == "BYTES" or one.shape is None:
            raise SourceError(
                f"reading {path}: its tensor {one.name!r} is {one.type}, expected numbers; keep the file as it is"
            )
    return tuple(_spec(one.name, ONNX_DATATYPES[one.type], one.shape) for one in found)


def _tflite(path: Path) -> tuple[Specs, Specs]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    if SIGNATURE not in interpreter.get_signature_list():
        found = f"signatures {sorted(interpreter.get_signature_list())} found, expected {SIGNATURE!r}"
        raise SourceError(f"reading {path}: {found}; convert it from a saved model with that signature")
    runner = interpreter.get_signature_runner(SIGNATURE)
    details = (runner.get_input_details(), runner.get_output_details())
    inputs, outputs = (
        tuple(
            _spec(name, DATATYPES[np.dtype(one["dtype"])], list(map(int, one.get("shape_signature", one["shape"]))))
            for name, one in sorted(detail.items())
        )
        for detail in details
    )
    return inputs, outputs


def _keras(path: Path) -> tuple[Specs, Specs]:
    import keras

    network = keras.models.load_model(path, compile=False, safe_mode=True)
    inputs, outputs = (
        tuple(_spec(one.name, DATATYPES[np.dtype(one.dtype)], one.shape) for one in ends)
        for ends in (network.inputs, network.outputs)
    )
    return inputs, outputs


def _torch(path: Path) -> tuple[Specs, Specs]:
    import torch

    program = torch.export.load(path)
    signature = program.graph_signature
    values = {node.name: node.meta.get("val") for node in program.graph.nodes}
    inputs, outputs = (
        tuple(_torch_spec(path, name, values.get(str(name))) for name in names)
        for names in (signature.user_inputs, signature.user_outputs)
    )
    return inputs, outputs


def _torch_spec(path: Path, name: object, value: Any) -> TensorSpec:  # noqa: ANN401 - a fake tensor, or no tensor
    if not hasattr(value, "dtype"):
        raise SourceError(f"reading {path}: its input or output {name} is no tensor; export it with tensors alone")
    return _spec(str(name), DATATYPES[np.dtype(str(value.dtype).removeprefix("torch."))], value.shape)


def _spec(name: str, datatype: Datatype, shape: Any) -> TensorSpec:  # noqa: ANN401 - any sequence of sizes
    sizes = tuple(size if isinstance(size, int) and size >= 0 else -1 for size in shape)
    return TensorSpec(name=name, datatype=datatype, shape=sizes)
