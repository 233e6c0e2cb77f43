"""Answers the rows of a part by a bundle's ONNX model: its inputs made as declared, its outputs read as declared.

What a device does with the same rows is the same: both have it from `shoal_numerics.processing`, and a preparation
that was fitted with the model is a part of its graph.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from shoal_compression.values import content_hash
from shoal_contract.manifest import TensorSpec
from shoal_contract.processing import NumberFeature, Processing, TabularInput
from shoal_numerics.processing.errors import ProcessingError
from shoal_numerics.processing.made import Prepared
from shoal_numerics.processing.pipeline import Declared, Pipeline
from shoal_numerics.tensors import Array
from shoal_training.batch_inference.answer_columns import arrow_columns
from shoal_training.batch_inference.engines.engine import Answer
from shoal_training.batch_inference.model_columns import raw_column, tensor_of
from shoal_training.batch_inference.parts import Part
from shoal_training.bundle import ONNX_FILE, Bundle, read_bundle
from shoal_training.errors import DataError
from shoal_training.ingestion.bad_places import bad_places
from shoal_training.onnx_samples import OnnxModel

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Asked:
    """What is asked of each part.

    Attributes:
        batch_rows: Rows that the model gets at once.
        inputs: Columns by input, where they are not called as it is.
        keep: Columns that go along with the answers; None: all that are neither arrays nor bytes.
        prefix: Before the names of answers.
        is_strict: Whether a row that the model can not take ends the run; else it is left out.
        threads: Of the CPU, for one process; None: all.
    """

    batch_rows: int
    inputs: Mapping[str, Sequence[str]] = field(default_factory=dict)
    keep: Sequence[str] | None = None
    prefix: str = ""
    is_strict: bool = True
    threads: int | None = None


@dataclass(frozen=True)
class ModelWork:
    """A model and what is asked of it; can be sent to other processes, each of which loads the model once.

    Attributes:
        bundle: What is declared.
        content: Its ONNX file.
        asked: What is asked.
        features: Names along the axis of its one input, by the version's baseline; empty: none are known.
    """

    bundle: Bundle
    content: bytes
    asked: Asked
    features: tuple[str, ...] = ()

    @cached_property
    def sha256(self) -> str:
        """Of the ONNX file."""
        return sha256(self.content).hexdigest()

    @cached_property
    def declared_sha256(self) -> str:
        """Of all else that decides an answer."""
        return content_hash([self.bundle.model_dump(mode="json"), list(self.features)])

    @cached_property
    def _model(self) -> OnnxModel:
        is_batched = self.bundle.batching is None
        outputs = [one.name for one in self.bundle.outputs]
        return OnnxModel(self.content, outputs, is_batched=is_batched, threads=self.asked.threads)

    @cached_property
    def _specs(self) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
        """Inputs and outputs with an axis of samples first, also where a request is one sample."""
        if self.bundle.batching is None:
            return self.bundle.inputs, self.bundle.outputs
        both = (self.bundle.inputs, self.bundle.outputs)
        inputs, outputs = (tuple(one.model_copy(update={"shape": (-1, *one.shape)}) for one in specs) for specs in both)
        return inputs, outputs

    def __getstate__(self) -> dict[str, Any]:
        """Leave the loaded model behind: each process loads its own."""
        return {name: getattr(self, name) for name in ("bundle", "content", "asked", "features")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """See `__getstate__`."""
        self.__dict__.update(state)

    def __call__(self, part: Part, table: "pa.Table") -> Answer:
        """Answer a part, some rows at a time.

        Raises:
            DataError: Columns are missing; or, if strict, a row can not be taken, which is named with its file.
        """
        import pyarrow as pa

        made: list[pa.Table] = []
        refused: dict[int, str] = {}
        for start in range(0, len(table), self.asked.batch_rows):
            rows = table.slice(start, self.asked.batch_rows)
            try:
                answers, bad = self._answered(rows)
            except (ProcessingError, DataError) as error:
                raise DataError(f"answering {part}: {error}") from error
            for row, reason in sorted(bad.items()):
                if self.asked.is_strict:
                    raise DataError(f"answering {part.place(start + row)}: {reason}")
                refused[start + row] = reason
            if answers is not None:
                made.append(answers)
        return Answer(pa.concat_tables(made) if made else None, refused)

    def _answered(self, table: "pa.Table") -> "tuple[pa.Table | None, dict[int, str]]":
        """Return the answers of some rows, and why the others have none, by place."""
        prepared = self._prepared(table)
        refused = dict(prepared.refused)
        outputs = self._run(prepared.inputs, len(prepared.kept))
        if isinstance(outputs, dict):
            kept = prepared
        else:
            found = dict(bad_places(range(len(prepared.kept)), lambda some: self._problem(prepared, some)))
            if not found:  # together they fail, and alone none does
                raise DataError(outputs)
            refused |= {int(prepared.kept[at]): reason for at, reason in found.items()}
            kept = _taken(prepared, [at for at in range(len(prepared.kept)) if at not in found])
            outputs = self._run(kept.inputs, len(kept.kept))
            if not isinstance(outputs, dict):
                raise DataError(outputs)
        if not len(kept.kept):
            return None, refused
        columns = arrow_columns(self._pipeline.read(outputs, kept))
        return self._beside(table.take(kept.kept), columns), refused

    @cached_property
    def _pipeline(self) -> Pipeline:
        return Pipeline(self._declared(self._specs[0]))

    def _declared(self, inputs: Sequence[TensorSpec]) -> Declared:
        bundle = self.bundle
        return Declared(inputs, self._specs[1], bundle.labels, bundle.processing, self.features)

    def _prepared(self, table: "pa.Table") -> Prepared:
        """Make the inputs: at once where columns hold whole tensors, by the processing where they do not.

        Of the baseline's features a device refuses rows with a number that is none: so does the processing here.
        """
        whole: dict[str, Array] = {}
        declared = {} if self.bundle.processing is None else self.bundle.processing.inputs
        for spec in self._specs[0]:
            names = self._columns(spec, table)
            found = tensor_of(spec, table, names) if names and spec.name not in declared else None
            if found is not None and (names is not self.features or _is_finite(found)):
                whole[spec.name] = found
        others = [spec for spec in self._specs[0] if spec.name not in whole]
        rest = self._rest(others, table)
        inputs = {**{name: array[rest.kept] for name, array in whole.items()}, **rest.inputs}
        return rest._replace(inputs={spec.name: inputs[spec.name] for spec in self._specs[0]})

    def _columns(self, spec: TensorSpec, table: "pa.Table") -> Sequence[str]:
        """Return the columns that an input is made of; empty: its processing knows."""
        named = self.asked.inputs.get(spec.name)
        if named:
            missing = [name for name in named if name not in table.column_names]
            if missing:
                raise DataError(f"there is no column {missing[0]}; there are {', '.join(table.column_names)[:500]}")
            size = abs(int(np.prod(spec.shape[1:], dtype=np.int64)))
            if len(named) > 1 and -1 not in spec.shape[1:] and size != len(named):
                raise DataError(f"`inputs`: {spec.name} takes {size} numbers, and {len(named)} columns are named")
            return named
        if spec.name in table.column_names:
            return [spec.name]
        is_alone = len(self._specs[0]) == 1 and self.features
        return self.features if is_alone and set(self.features) <= set(table.column_names) else ()

    def _rest(self, others: Sequence[TensorSpec], table: "pa.Table") -> Prepared:
        if not others:
            return Prepared({}, np.arange(len(table)), {}, [])
        pipeline = Pipeline(self._declared(others)._replace(processing=self._processing(others)))
        known = {name: name for name in table.column_names}
        known |= {spec: names[0] for spec, names in self.asked.inputs.items() if len(names) == 1}
        columns = {name: raw_column(table[known[name]]) for name in pipeline.columns(known) if name in known}
        return pipeline.prepare(columns, len(table))

    def _processing(self, inputs: Sequence[TensorSpec]) -> Processing:
        """Return how inputs are made; of several columns that are not all of numbers, what is none is told by row."""
        declared = self.bundle.processing or Processing()
        named = {spec.name: self.asked.inputs.get(spec.name, ()) for spec in inputs}
        tables = {
            name: TabularInput(features=tuple(NumberFeature(name=column) for column in columns))
            for name, columns in named.items()
            if len(columns) > 1
        }
        return declared.model_copy(update={"inputs": {**declared.inputs, **tables}})

    def _run(self, inputs: Mapping[str, Array], rows: int) -> dict[str, Array] | str:
        """Return the outputs, each (rows, ...), or why there are none."""
        if not rows:
            return {}
        try:
            runs = list(self._model.runs(inputs))
        except DataError as error:
            return str(error)
        is_batched = self.bundle.batching is None
        joined = {
            name: np.concatenate([one[name] for one in runs]) if is_batched else np.stack([one[name] for one in runs])
            for name in runs[0]
        }
        for name, output in joined.items():
            if output.ndim == 0 or len(output) != rows:
                return f"output {name!r} has shape {list(output.shape)} for {rows} rows, expected one for each row"
        return joined

    def _problem(self, prepared: Prepared, some: Sequence[int]) -> str:
        taken = _taken(prepared, list(some))
        outputs = self._run(taken.inputs, len(taken.kept))
        return outputs if isinstance(outputs, str) else ""

    def _beside(self, rows: "pa.Table", columns: "Mapping[str, pa.Array]") -> "pa.Table":
        """Return kept columns with the answers behind them."""
        keep = self.asked.keep
        names = [one.name for one in rows.schema if _is_plain(one.type)] if keep is None else keep
        missing = [name for name in names if name not in rows.column_names]
        if missing:
            raise DataError(f"keeping columns: no {missing[0]} is there, only {', '.join(rows.column_names)[:500]}")
        made = rows.select(names)
        for name, column in columns.items():
            if self.asked.prefix + name in made.column_names:
                raise DataError(
                    f"the answer {self.asked.prefix + name} has the name of a column that goes along; set `prefix`, or "
                    "leave it out of `keep`"
                )
            made = made.append_column(self.asked.prefix + name, column)
        return made


def work_of(folder: Path, asked: Asked, features: Sequence[str] = ()) -> ModelWork:
    """Read a bundle for batch inference.

    Args:
        folder: The bundle's.
        asked: What is asked of it.
        features: Names along the axis of its one input.

    Raises:
        BundleError: It is none.
        DataError: It has no ONNX model, or `asked.inputs` names an input that it has not.
    """
    bundle = read_bundle(folder)
    if ONNX_FILE not in bundle.files:
        raise DataError(f"reading the bundle {folder}: it has no {ONNX_FILE}; batch inference runs ONNX models")
    known = [spec.name for spec in bundle.inputs]
    unknown = sorted(set(asked.inputs) - set(known))
    if unknown:
        raise DataError(f"`inputs`: {bundle.name} has no input {unknown[0]}, only {', '.join(known)}; mend the name")
    return ModelWork(bundle, (folder / ONNX_FILE).read_bytes(), asked, tuple(features))


def _taken(prepared: Prepared, places: Sequence[int]) -> Prepared:
    chosen = np.asarray(places, dtype=np.int64)
    inputs = {name: array[chosen] for name, array in prepared.inputs.items()}
    placements = [prepared.placements[at] for at in places] if prepared.placements else []
    return Prepared(inputs, prepared.kept[chosen], {}, placements)


def _is_finite(array: Array) -> bool:
    return array.dtype.kind != "f" or bool(np.isfinite(array).all())


def _is_plain(kind: "pa.DataType") -> bool:
    import pyarrow as pa

    types = pa.types
    is_array = types.is_nested(kind) or isinstance(kind, pa.BaseExtensionType)
    return not (is_array or types.is_binary(kind) or types.is_large_binary(kind))
