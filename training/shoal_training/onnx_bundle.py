"""Makes the bundle of a trained ONNX model that comes from elsewhere, unchanged, and of samples of what it is asked.

The program is `shoal_training.bring`.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any, Final

import numpy as np
from pydantic import ValidationError

from shoal_contract.manifest import Datatype, TensorSpec
from shoal_contract.processing import Processing
from shoal_numerics.class_choice import chosen_classes
from shoal_numerics.tensors import NUMPY_TYPES, ONNX_DATATYPES
from shoal_training.bundle import (
    CALIBRATION_FILE,
    CARD_FILE,
    ONNX_FILE,
    TEST_FILE,
    Bundle,
    Parameter,
    SliceSpec,
    data_fingerprint,
    new_folder,
    record_file,
    write_bundle,
    write_card,
)
from shoal_training.errors import BundleError, DataError
from shoal_training.model_card import ModelCard
from shoal_training.onnx_samples import Array, OnnxModel
from shoal_training.source_code import CodeRecord

LABELS_KEY: Final = "y"
"""The samples' true labels, as places among the model's labels."""
_NUMBERS: Final = {kind: datatype for kind, datatype in ONNX_DATATYPES.items() if datatype != "BYTES"}
"""Of outputs, which are compared, and of inputs that are watched for drift."""


@dataclass(frozen=True)
class About:
    """What whoever brings a model says of it.

    Attributes:
        name: Of the model in the registry.
        author: Who made this version.
        labels: What the places of the first output stand for.
        watched: Inputs of numbers that are watched for drift; empty: all of these.
        categorical: Features whose whole numbers are categories.
        embedded: The output that stands for a sample where drift is looked for; None: none is declared.
        slices: Parts of the samples that are counted by themselves.
        processing: How inputs are made and what outputs mean.
        card: The model card; None: none.
        algorithm: How it was trained.
        framework: What trained it.
        parameters: Of the training.
        metrics: That were measured on the held-out samples.
        data_sha256: Fingerprint of the data that it was trained on; None: that of the samples.
        seed: Of the training.
        code: The commit of the code that trained it.
    """

    name: str
    author: str
    labels: tuple[str, ...] = ()
    watched: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    embedded: str | None = None
    slices: tuple[SliceSpec, ...] = ()
    processing: Processing | None = None
    card: ModelCard | None = None
    algorithm: str = "as it was brought"
    framework: str = "onnx"
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    data_sha256: str | None = None
    seed: int = 0
    code: CodeRecord | None = None


def bundle_from_onnx(
    model: Path,
    samples: Mapping[str, Array],
    out_dir: Path,
    about: About,
    held_out: Mapping[str, Array] | None = None,
    more: Mapping[str, Path] | None = None,
) -> Bundle:
    """Write the bundle of a trained ONNX model, with the samples as the data that it is watched against.

    Where every array has as many axes as its input, samples lie along the first one. Where they have one more, it is
    theirs, and a request to the model is one sample; arrays without it are the same for each.

    Inputs may be texts, which the bundle keeps as arrays of numpy's own texts; devices watch the inputs of numbers.

    Args:
        model: The file; it is copied as it is.
        samples: Arrays by input, and `y` (n,) if true labels are known.
        out_dir: A new or empty folder.
        about: What is said of it.
        held_out: Samples like those, with `y`, that it was not trained on; None: the samples, if they have `y`.
        more: Further files by their name in the bundle, such as the same network as `model.keras`.

    Raises:
        DataError: The samples are not the model's, or do not lie as their axes say.
        BundleError: What is said of it does not fit, or `out_dir` is not empty.
    """
    new_folder(out_dir)
    shutil.copyfile(model, out_dir / ONNX_FILE)
    loaded = OnnxModel(out_dir / ONNX_FILE)
    inputs = _specs(loaded.session.get_inputs(), ONNX_DATATYPES)
    outputs = _specs(loaded.session.get_outputs(), _NUMBERS)
    watched = _watched(about, inputs)
    arrays, is_batched = _arranged(samples, inputs)
    runs = OnnxModel(out_dir / ONNX_FILE, is_batched=is_batched)
    if is_batched:
        runs.check_apart(arrays)
    held = arrays if held_out is None else _arranged(held_out, inputs)[0]
    truth = (samples if held_out is None else held_out).get(LABELS_KEY)
    metrics = dict(about.metrics)
    if truth is not None and not metrics:
        metrics["accuracy"] = _accuracy(runs, held, truth, outputs[0].name)
    kept = _plain(arrays)
    np.savez_compressed(out_dir / CALIBRATION_FILE, allow_pickle=False, **kept)
    if truth is not None:
        np.savez_compressed(out_dir / TEST_FILE, allow_pickle=False, **_plain(held), **{LABELS_KEY: truth})
    if about.card is not None:
        write_card(out_dir, about.card)
    for name, path in (more or {}).items():
        shutil.copyfile(path, out_dir / name)
    names = (ONNX_FILE, CALIBRATION_FILE, TEST_FILE, CARD_FILE, *(more or {}))
    bundle = _described(
        replace(about, watched=watched),
        inputs=inputs,
        outputs=outputs,
        batching=None if is_batched else "none",
        metrics=metrics,
        data_sha256=about.data_sha256 or data_fingerprint(kept.values()),
        files={name: record_file(out_dir / name) for name in names if (out_dir / name).is_file()},
    )
    write_bundle(out_dir, bundle)
    return bundle


def _described(about: About, **found: Any) -> Bundle:  # noqa: ANN401 - fields of a Bundle, which checks them
    try:
        return Bundle(
            name=about.name,
            author=about.author,
            algorithm=about.algorithm,
            framework=about.framework,
            parameters=dict(about.parameters),
            labels=about.labels,
            watched=about.watched or None,
            categorical=about.categorical,
            embedded=about.embedded,
            slices=about.slices,
            processing=about.processing,
            seed=about.seed,
            code=about.code,
            tool_versions={tool: installed_version(tool) for tool in ("onnxruntime", "numpy")},
            **found,
        )
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the bundle"
        raise BundleError(f"making the bundle of {about.name}: {where}: {first['msg']}") from error


def _watched(about: About, inputs: tuple[TensorSpec, ...]) -> tuple[str, ...]:
    """Return the inputs that are watched; empty: all.

    Raises:
        BundleError: Texts are to be, or there is nothing else.
    """
    texts = {spec.name for spec in inputs if spec.datatype == "BYTES"}
    numbers = tuple(spec.name for spec in inputs if spec.name not in texts)
    wrong = sorted(texts & set(about.watched))
    if wrong:
        found = f"{wrong[0]} takes texts, which are not watched"
        raise BundleError(f"making the bundle of {about.name}: {found}; leave it out")
    if not numbers:
        found = "all of its inputs take texts, and devices watch numbers for drift"
        remedy = "give it an input of numbers, such as a text's length"
        raise BundleError(f"making the bundle of {about.name}: {found}; {remedy}")
    return about.watched or (numbers if texts else ())


def _plain(arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Return arrays as an `.npz` keeps them without pickles: texts of numpy's own type."""
    return {name: array.astype(np.str_) if array.dtype.kind == "O" else array for name, array in arrays.items()}


def _specs(found: list[Any], datatypes: Mapping[str, Datatype]) -> tuple[TensorSpec, ...]:
    for one in found:
        if one.type not in datatypes or one.shape is None:
            known = ", ".join(datatypes)
            raise DataError(f"reading the model: its tensor {one.name!r} is {one.type}, expected one of {known}")
    return tuple(
        TensorSpec(
            name=one.name,
            datatype=datatypes[one.type],
            shape=tuple(size if isinstance(size, int) and size >= 0 else -1 for size in one.shape),
        )
        for one in found
    )


def _arranged(samples: Mapping[str, Array], inputs: tuple[TensorSpec, ...]) -> tuple[dict[str, Array], bool]:
    """Return an array (n, ...) for each input, in its datatype, and whether n is the model's own first axis."""
    expected, given = {spec.name for spec in inputs}, set(samples) - {LABELS_KEY}
    if expected != given:
        raise DataError(
            f"reading the samples: arrays {', '.join(sorted(given))} found, expected one for each input: "
            f"{', '.join(sorted(expected))}"
        )
    more = {spec.name: samples[spec.name].ndim - len(spec.shape) for spec in inputs}
    is_batched = not any(more.values()) and all(spec.shape[:1] == (-1,) for spec in inputs)
    counts = {len(samples[name]) for name, axes in more.items() if axes == 1 or is_batched} or {1}
    if not set(more.values()) <= {0, 1} or len(counts) > 1 or 0 in counts:
        shapes = ", ".join(f"{spec.name} {list(samples[spec.name].shape)} for {list(spec.shape)}" for spec in inputs)
        raise DataError(
            f"reading the samples: {shapes} found, expected as many samples for each input, along its first axis or an "
            "axis before it"
        )
    count = counts.pop()
    arranged = {}
    for spec in inputs:
        array = samples[spec.name]
        if (array.dtype.kind in "OUS") != (spec.datatype == "BYTES"):
            raise DataError(f"reading the samples: {spec.name} is {array.dtype}, expected {spec.datatype} values")
        array = (array.astype(np.str_) if array.dtype.kind == "S" else array).astype(NUMPY_TYPES[spec.datatype])
        is_same_for_each = not is_batched and more[spec.name] == 0
        arranged[spec.name] = np.broadcast_to(array, (count, *array.shape)) if is_same_for_each else array
    return arranged, is_batched


def _accuracy(model: OnnxModel, arrays: Mapping[str, Array], truth: Array, output: str) -> float:
    """Return the share (0..1) of samples whose class is the label."""
    count = len(next(iter(arrays.values())))
    scores = [np.atleast_1d(run[output]) for run in model.runs(arrays)]
    is_column = model.is_batched and scores[0].ndim == 1
    predicted = chosen_classes(np.concatenate([one.reshape(-1, 1 if is_column else one.shape[-1]) for one in scores]))
    if len(predicted) != count or truth.shape != (count,):
        raise DataError(
            f"reading the samples: y has shape {list(truth.shape)} for {count} samples and an output {output!r} of "
            f"{len(predicted)} rows, expected one label and one row of scores a sample"
        )
    return float((predicted == truth).mean())
