"""Runs a model on samples, by the runtime of its form, in a given number of threads."""

import io
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from shoal_compression.data import Samples
from shoal_compression.errors import MissingLibraryError, TechniqueError
from shoal_compression.extras import says_extra
from shoal_compression.keras_file import answers, open_keras
from shoal_compression.model import SIGNATURE, Model
from shoal_compression.onnx_session import open_onnx, session_options
from shoal_numerics.tensors import Array

Run = Callable[[Mapping[str, Array]], dict[str, Array]]
"""Takes a request, arrays by input; returns arrays by output."""
BATCH = 64
"""Samples in a request where only answers count and a model takes batches."""
BATCH_BYTES = 16 * 1024 * 1024
"""Of such a request, at most; at least one sample is asked."""


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
    parts = list(answers_of(model, samples, threads))
    join = np.concatenate if model.is_batched else np.stack
    return {spec.name: join([part[spec.name] for part in parts]) for spec in model.outputs}


def scores_of(model: Model, samples: Samples, threads: int = 1) -> Array:
    """Run a model on samples and return its first output, (n, …).

    Raises:
        TechniqueError: It can not be loaded, or does not take the samples.
    """
    first = model.outputs[0].name
    join = np.concatenate if model.is_batched else np.stack
    return join([part[first] for part in answers_of(model, samples, threads)])


def answers_of(model: Model, samples: Samples, threads: int = 1) -> Iterator[dict[str, Array]]:
    """Yield what a model answers to one request after the other, each of as many samples as it takes at once.

    Raises:
        TechniqueError: It can not be loaded, or does not take the samples.
    """
    run = load(model, threads)
    each_bytes = max(1, sum(array[:1].nbytes for array in samples.inputs.values()))
    for feed in samples.feeds(model, max(1, min(BATCH, BATCH_BYTES // each_bytes))):
        yield ask(run, feed, model)


def ask(run: Run, request: Mapping[str, Array], model: Model) -> dict[str, Array]:
    """Return what a model that was loaded answers to a request.

    Raises:
        TechniqueError: It does not take it.
    """
    try:
        return run(request)
    except Exception as error:  # as above
        shapes = {name: list(array.shape) for name, array in request.items()}
        msg = f"running {model.described} on samples of {shapes}: {str(error)[:500]}"
        raise TechniqueError(f"{msg}; see that the samples are what the model takes") from error


def _open_onnx(model: Model, threads: int) -> Run:
    session = open_onnx(model.content, session_options(threads))
    _check_names(model, [x.name for x in session.get_inputs()], [x.name for x in session.get_outputs()])
    names = [spec.name for spec in model.outputs]

    def run(feeds: Mapping[str, Array]) -> dict[str, Array]:
        return dict(
            zip(names, session.run(names, {name: as_text(array) for name, array in feeds.items()}), strict=True)
        )

    return run


def as_text(array: Array) -> Array:
    """Return texts of a manifest, which are UTF-8, as `str`; any other array as it is."""
    if array.dtype.kind != "O":
        return array
    texts = np.empty(array.size, dtype=np.object_)
    texts[:] = [one.decode() if isinstance(one, bytes) else one for one in array.flat]
    return texts.reshape(array.shape)


def unpickled(arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Return arrays as an `.npz` keeps them without pickles: texts of numpy's own type."""
    return {name: as_text(one).astype(np.str_) if one.dtype.kind == "O" else one for name, one in arrays.items()}


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
