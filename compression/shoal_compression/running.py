"""Runs a model on samples, by the runtime of its form, in a given number of threads."""

import io
from collections.abc import Callable, Mapping

import numpy as np

from shoal_compression.data import Samples
from shoal_compression.errors import MissingLibraryError, TechniqueError
from shoal_compression.extras import says_extra
from shoal_compression.keras_file import answers, open_keras
from shoal_compression.model import Model
from shoal_numerics.tensors import Array

Run = Callable[[Mapping[str, Array]], dict[str, Array]]
"""Takes a request, arrays by input; returns arrays by output."""
SIGNATURE = "serving_default"
BATCH = 64
"""Samples in a request where only answers count and a model takes batches."""


def load(model: Model, threads: int = 1) -> Run:
    """Load a model.

    Raises:
        TechniqueError: Its runtime does not load it, or it has other inputs or outputs than it says.
        MissingLibraryError: Its runtime is not installed.
    """
    doing = f"loading {model.described} of {model.size_bytes} bytes"
    open_form = {"onnx": _open_onnx, "tflite": _open_tflite, "keras": _open_keras, "torch": _open_torch}[model.form]
    try:
        with says_extra(doing):
            return open_form(model, threads)
    except MissingLibraryError:
        raise
    except Exception as error:  # the runtimes' errors share no base class
        raise TechniqueError(f"{doing}: {str(error)[:500]}; give a file that its runtime loads") from error


def outputs_of(model: Model, samples: Samples, threads: int = 1) -> dict[str, Array]:
    """Run a model on samples and return arrays (n, …) by output.

    Raises:
        TechniqueError: It can not be loaded, or does not take the samples.
    """
    run = load(model, threads)
    try:
        parts = [run(feed) for feed in samples.feeds(model, BATCH)]
    except Exception as error:  # as above
        shapes = {name: list(array.shape[1:]) for name, array in samples.inputs.items()}
        msg = f"running {model.described} on samples of {shapes}: {str(error)[:500]}"
        raise TechniqueError(f"{msg}; see that the samples are what the model takes") from error
    join = np.concatenate if model.is_batched else np.stack
    return {spec.name: join([part[spec.name] for part in parts]) for spec in model.outputs}


def _open_onnx(model: Model, threads: int) -> Run:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    session = ort.InferenceSession(model.content, options, providers=["CPUExecutionProvider"])
    _check_names(model, [x.name for x in session.get_inputs()], [x.name for x in session.get_outputs()])
    names = [spec.name for spec in model.outputs]
    return lambda feeds: dict(zip(names, session.run(names, dict(feeds)), strict=True))


def _open_tflite(model: Model, threads: int) -> Run:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=model.content, num_threads=threads)
    runner = interpreter.get_signature_runner(SIGNATURE)
    _check_names(model, list(runner.get_input_details()), list(runner.get_output_details()))

    def run(feeds: Mapping[str, Array]) -> dict[str, Array]:
        _held = interpreter  # the runner alone does not keep it
        return {name: np.asarray(array) for name, array in runner(**feeds).items()}

    return run


def _open_keras(model: Model, _threads: int) -> Run:
    network = open_keras(model)

    def run(feeds: Mapping[str, Array]) -> dict[str, Array]:
        made = answers(network, [feeds[spec.name] for spec in model.inputs])
        return {spec.name: np.asarray(array) for spec, array in zip(model.outputs, made, strict=True)}

    return run


def _open_torch(model: Model, threads: int) -> Run:
    import torch

    torch.set_num_threads(threads)
    called = torch.export.load(io.BytesIO(model.content)).module()

    def run(feeds: Mapping[str, Array]) -> dict[str, Array]:
        with torch.no_grad():
            made = called(*(torch.from_numpy(feeds[spec.name]) for spec in model.inputs))
        arrays = [one.numpy() for one in (made if isinstance(made, list | tuple) else [made])]
        return {spec.name: array for spec, array in zip(model.outputs, arrays, strict=True)}

    return run


def _check_names(model: Model, inputs: list[str], outputs: list[str]) -> None:
    expected = ([spec.name for spec in model.inputs], [spec.name for spec in model.outputs])
    if (sorted(inputs), sorted(outputs)) != (sorted(expected[0]), sorted(expected[1])):
        raise ValueError(f"inputs {inputs} and outputs {outputs} found, expected {expected[0]} and {expected[1]}")
