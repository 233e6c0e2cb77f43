"""The steps of a run, each from files of earlier ones to files of its own; `running` decides which have to be done.

ingest → validate → prepare → train → evaluate: what follows a step is known by the step's key, a content hash.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from shoal_contract.manifest import TensorSpec
from shoal_training.errors import DataError
from shoal_training.evaluation.schemes import Fold, checked_folds
from shoal_training.frameworks.trainer import History, Samples, TrainContext, no_metric
from shoal_training.onnx_samples import Array, OnnxModel
from shoal_training.pipeline.definition import Pipeline
from shoal_training.progress import Progress
from shoal_training.transforms.fit_preparation import fit_preparation
from shoal_training.transforms.joined_graph import SCORES, joined_graph
from shoal_training.transforms.parity import check_same
from shoal_training.transforms.preparation import PREPARED
from shoal_training.transforms.step import Affine

if TYPE_CHECKING:
    import pyarrow as pa

PREPARE_FILE: Final = "prepare.onnx"
ABOUT_FILE: Final = "prepared.json"
TRAIN_FILE: Final = "train.npz"
HELD_FILE: Final = "held-out.npz"
MODEL_FILE: Final = "model.onnx"
HISTORY_FILE: Final = "history.json"
PLACES_FILE: Final = "held-out-places.npy"
"""Of the rows that were held out, in the table."""
_TRUTH: Final = "y"
_PREPARED_KEY: Final = "prepared x"
"""No name of an input: those have no space."""


@dataclass(frozen=True)
class Working:
    """What unfinished training works with.

    Attributes:
        folder: Of its checkpoints.
        progress: Told on the way.
        sources: The trainer's own files as they were when the step's key was made.
        metric: Told what is measured on the way, besides the record.
    """

    folder: Path
    progress: Progress
    sources: Mapping[str, str]
    metric: Callable[[str, float, int], None] = no_metric


@dataclass(frozen=True)
class Rows:
    """What the steps after validation work on."""

    table: "pa.Table"
    pipeline: Pipeline
    folder: Path = Path()
    """The pipeline file's."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """The columns that are learned from."""
        training = self.pipeline.model_training
        apart = {training.target, *self.pipeline.model_evaluation.validation_scheme.columns()}
        return training.inputs or tuple(name for name in self.table.column_names if name not in apart)

    def folds(self) -> tuple[Fold, ...]:
        """Part the rows by the scheme of validation.

        Raises:
            DataError: They can not be.
        """
        training = self.pipeline.model_training
        target = training.target if training.task == "classification" else None
        scheme = self.pipeline.model_evaluation.validation_scheme
        return checked_folds(scheme, self.table, target, self.pipeline.seed, self.folder)


def do_prepare(rows: Rows, folder: Path, number: int = 0) -> None:
    """Take a fold, fit the transformation on rows that are learned from, and apply it as a device would."""
    pipeline, training = rows.pipeline, rows.pipeline.model_training
    fold = rows.folds()[number]
    np.save(folder / PLACES_FILE, fold.test)
    train, held = rows.table.take(fold.train), rows.table.take(fold.test)
    preparation = fit_preparation(train, rows.inputs, pipeline.data_preprocessing.transformation)
    graph = preparation.graph()
    if graph is not None:
        (folder / PREPARE_FILE).write_bytes(graph.SerializeToString())
    labels = _labels(rows.table, training.target) if training.task == "classification" else ()
    for name, part in ((TRAIN_FILE, train), (HELD_FILE, held)):
        arrays = preparation.arrays(part)
        prepared = preparation.prepared(part)
        if graph is not None:
            [found] = run_graph(folder / PREPARE_FILE, arrays, PREPARED)
            check_same("the transformation", prepared, found)
            prepared = found  # what a device computes is what is learned from
        truth = {} if training.target is None else {_TRUTH: _truth(part, training.target, labels)}
        plain = {key: array.astype(str) if array.dtype == object else array for key, array in arrays.items()}
        np.savez_compressed(folder / name, allow_pickle=False, **plain, **truth, **{_PREPARED_KEY: prepared})
    inputs = [one.model_dump(mode="json") for one in preparation.inputs]
    about = {"inputs": inputs, "labels": labels, "affine": preparation.affine}
    (folder / ABOUT_FILE).write_text(json.dumps(about) + "\n")


def do_train(pipeline: Pipeline, prepared: Path, folder: Path, working: Working) -> None:
    """Train, write the whole model as ONNX, and see that it computes what was trained."""
    import onnx

    training = pipeline.model_training
    about, history = read_about(prepared), History()
    train, held = read_samples(prepared / TRAIN_FILE), read_samples(prepared / HELD_FILE)

    def measured(name: str, value: float, step: int) -> None:
        history(name, value, step)
        working.metric(name, value, step)

    context = TrainContext(
        task=training.task,
        classes=len(about.labels),
        folder=working.folder,
        seed=pipeline.seed,
        progress=working.progress,
        metric=measured,
        sources=working.sources,
    )
    fitted = training.compute.fit(training.trainer, train, held, context)
    graph = fitted.graph()
    before = prepared / PREPARE_FILE
    joined = joined_graph(onnx.load(before) if before.is_file() else None, graph, about.inputs[0].name)
    (folder / MODEL_FILE).write_bytes(joined.SerializeToString())
    arrays = read_arrays(prepared / HELD_FILE, about.inputs)
    [scores] = run_graph(folder / MODEL_FILE, arrays, SCORES)
    check_same("the model", fitted.scores(held.x), scores)
    # What a framework writes takes samples as a device has them: it can put a scale before a network, and no more.
    only = about.inputs[0].name
    files = fitted.write(folder, only, arrays[only], about.affine) if about.affine is not None else ()
    told = {"history": history.points, "facts": fitted.facts, "files": files}
    (folder / HISTORY_FILE).write_text(json.dumps(told) + "\n")


@dataclass(frozen=True)
class About:
    """What the prepared samples are of."""

    inputs: tuple[TensorSpec, ...]
    labels: tuple[str, ...]
    affine: Affine | None
    """All of the transformation, where it is no more than a scale."""


def read_about(prepared: Path) -> About:
    """Read what `do_prepare` has written of the model's inputs and labels."""
    found = json.loads((prepared / ABOUT_FILE).read_text())
    inputs = tuple(TensorSpec.model_validate(one) for one in found["inputs"])
    affine = Affine(*map(tuple, found["affine"])) if found.get("affine") else None
    return About(inputs, tuple(found["labels"]), affine)


def read_samples(path: Path) -> Samples:
    """Read prepared samples."""
    with np.load(path, allow_pickle=False) as found:
        return Samples(found[_PREPARED_KEY], found[_TRUTH] if _TRUTH in found.files else None)


def read_arrays(path: Path, inputs: tuple[TensorSpec, ...]) -> dict[str, Array]:
    """Read the same samples as the whole model's inputs."""
    with np.load(path, allow_pickle=False) as found:
        arrays = {spec.name: found[spec.name] for spec in inputs}
    return {name: one.astype(object) if one.dtype.kind == "U" else one for name, one in arrays.items()}


def read_truth(path: Path) -> Array | None:
    """Read the samples' answers; None: there are none."""
    return read_samples(path).y


def run_graph(path: Path, arrays: Mapping[str, Array], output: str) -> list[Array]:
    """Return an output of a written graph for samples by input."""
    model = OnnxModel(path, [output])
    return [np.concatenate([one[output] for one in model.runs(arrays)])]


def _labels(table: "pa.Table", target: str | None) -> tuple[str, ...]:
    """Return the classes, numbers in their order."""
    if target is None or target not in table.column_names:
        raise DataError(f"training: there is no column {target}; the table has {', '.join(table.column_names)}")
    found = table[target].unique().drop_null().to_pylist()
    if len(found) < 2:  # noqa: PLR2004 - else there is nothing to tell apart
        raise DataError(
            f"training: the target {target} has the classes {found}, expected two or more; look at the data"
        )
    return tuple(str(one) for one in sorted(found))


def _truth(table: "pa.Table", target: str, labels: tuple[str, ...]) -> Array:
    """Return the target as places among the labels, or as numbers."""
    import pyarrow as pa

    if table[target].null_count:
        count = table[target].null_count
        raise DataError(f"training: {count} rows have no {target}; check `not_null`, with the action `quarantine`")
    if not labels:
        try:
            return np.asarray(table[target].cast(pa.float32()).to_numpy(), dtype=np.float32)
        except pa.ArrowInvalid as error:
            raise DataError(
                f"training: the target {target} is {table[target].type} ({str(error)[:120]}), expected numbers, 1 for "
                "an anomaly and 0 else where one is learned; write it so"
            ) from error
    places = {label: at for at, label in enumerate(labels)}
    return np.array([places[str(one)] for one in table[target].to_pylist()], dtype=np.int64)
