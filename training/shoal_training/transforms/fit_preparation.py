"""Fits the transformation of a pipeline file on the rows that are learned from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from shoal_contract.manifest import TensorSpec
from shoal_training.errors import DataError
from shoal_training.onnx_samples import Array
from shoal_training.transforms.preparation import PREPARED, Preparation
from shoal_training.transforms.steps import Impute, OneHot, Standardize, Step

if TYPE_CHECKING:
    import pyarrow as pa

FEATURES: Final = "features"
"""The one input of a model of numbers alone."""
OPSET: Final = {"": 17, "ai.onnx.ml": 3}


def fit_preparation(table: "pa.Table", columns: Sequence[str], steps: Sequence[Step]) -> Preparation:
    """Fit the steps on rows.

    Args:
        table: The rows that are learned from.
        columns: The model's inputs.
        steps: In turn; columns that none is for are passed on, texts among them refused.

    Raises:
        DataError: A column is missing, is of a type that no step takes, or a step does not fit it.
    """
    kinds = {name: _kind(table, name) for name in columns}
    tensors = [name for name, kind in kinds.items() if kind == "tensor"]
    if tensors:
        if len(columns) > 1 or steps:
            raise DataError(
                f"transforming: the column {tensors[0]} holds a tensor a row, which stands alone and has no steps; "
                "name it as the only input"
            )
        return TensorColumn.of(table, tensors[0])
    return ColumnPreparation.fit(table, kinds, steps)


def _kind(table: "pa.Table", name: str) -> str:
    """Return `number`, `text` or `tensor`."""
    import pyarrow as pa

    if name not in table.column_names:
        raise DataError(f"transforming: there is no column {name}; the table has {', '.join(table.column_names)}")
    found = table[name].type
    if isinstance(found, pa.FixedShapeTensorType):
        return "tensor"
    if pa.types.is_integer(found) or pa.types.is_floating(found) or pa.types.is_boolean(found):
        return "number"
    if pa.types.is_string(found) or pa.types.is_large_string(found) or pa.types.is_dictionary(found):
        return "text"
    raise DataError(f"transforming: the column {name} is {found}, expected numbers, texts or tensors; leave it out")


@dataclass(frozen=True)
class TensorColumn:
    """One column of tensors of one shape, which goes to the model as it is."""

    name: str
    inputs: tuple[TensorSpec, ...]

    @classmethod
    def of(cls, table: "pa.Table", name: str) -> "TensorColumn":
        """Take the shape of a column."""
        shape = tuple(int(size) for size in table[name].type.shape)
        return cls(name, (TensorSpec(name=name, datatype="FP32", shape=(-1, *shape)),))

    def arrays(self, table: "pa.Table") -> dict[str, Array]:
        """See `Preparation`."""
        return {self.name: self.prepared(table)}

    def prepared(self, table: "pa.Table") -> Array:
        """See `Preparation`."""
        chunk = table[self.name].combine_chunks()
        return np.asarray(chunk.to_numpy_ndarray(), dtype=np.float32)

    def graph(self) -> Any | None:  # noqa: ANN401 - see `Preparation`
        """See `Preparation`."""
        return None


class ColumnPreparation:
    """Columns of numbers and texts, by steps of scikit-learn."""

    def __init__(self, kinds: dict[str, str], fitted: Any) -> None:  # noqa: ANN401 - scikit-learn has no types
        self._kinds, self._fitted = kinds, fitted
        self._is_plain = set(kinds.values()) == {"number"}
        self.inputs = (
            (TensorSpec(name=FEATURES, datatype="FP32", shape=(-1, len(kinds))),)
            if self._is_plain
            else tuple(
                TensorSpec(name=name, datatype="FP32" if kind == "number" else "BYTES", shape=(-1, 1))
                for name, kind in kinds.items()
            )
        )

    @classmethod
    def fit(cls, table: "pa.Table", kinds: dict[str, str], steps: Sequence[Step]) -> "ColumnPreparation":
        """Fit the steps."""
        from sklearn.compose import ColumnTransformer
        from sklearn.pipeline import Pipeline

        names = list(kinds)
        chains: dict[str, list[Step]] = {name: [] for name in names}
        for step in steps:
            for name in _columns_of(step, kinds):
                chains[name].append(step)
        groups: dict[tuple[str, ...], list[int]] = {}
        for name, chain in chains.items():
            if kinds[name] == "text" and not any(isinstance(step, OneHot) for step in chain):
                raise DataError(
                    f"transforming: the column {name} holds texts; add a step `one_hot` for it, or leave it out"
                )
            groups.setdefault(tuple(step.model_dump_json() + step.kind for step in chain), []).append(names.index(name))
        parts = [
            (
                f"part{number}",
                Pipeline([(f"{at}", _estimator(step)) for at, step in enumerate(chains[names[members[0]]])])
                if chains[names[members[0]]]
                else "passthrough",
                members,
            )
            for number, members in enumerate(groups.values())
        ]
        transformer = ColumnTransformer(parts, sparse_threshold=0.0)
        made = cls(kinds, transformer)
        try:
            transformer.fit(made._matrix(table))
        except (TypeError, ValueError) as error:
            raise DataError(f"transforming: {error}") from error
        return made

    def arrays(self, table: "pa.Table") -> dict[str, Array]:
        """See `Preparation`."""
        if self._is_plain:
            return {FEATURES: self._matrix(table)}
        return {name: self._column(table, name).reshape(-1, 1) for name in self._kinds}

    def prepared(self, table: "pa.Table") -> Array:
        """See `Preparation`."""
        return np.asarray(self._fitted.transform(self._matrix(table)), dtype=np.float32)

    def graph(self) -> Any | None:  # noqa: ANN401 - see `Preparation`
        """See `Preparation`."""
        from skl2onnx import convert_sklearn
        from skl2onnx.common.data_types import FloatTensorType, StringTensorType

        types = [
            (spec.name, (FloatTensorType if spec.datatype == "FP32" else StringTensorType)([None, spec.shape[1]]))
            for spec in self.inputs
        ]
        return convert_sklearn(
            self._fitted, initial_types=types, final_types=[(PREPARED, FloatTensorType())], target_opset=OPSET
        )

    def _matrix(self, table: "pa.Table") -> Array:
        columns = [self._column(table, name) for name in self._kinds]
        if self._is_plain:
            return np.column_stack(columns)
        found = np.empty((len(table), len(columns)), dtype=object)
        for at, column in enumerate(columns):
            found[:, at] = column
        return found

    def _column(self, table: "pa.Table", name: str) -> Array:
        import pyarrow as pa

        if _kind(table, name) != self._kinds[name]:
            raise DataError(
                f"transforming: the column {name} is {table[name].type}, it held {self._kinds[name]}s before"
            )
        if self._kinds[name] == "number":
            return np.asarray(table[name].cast(pa.float32()).to_numpy(), dtype=np.float32)
        return np.asarray(table[name].cast(pa.string()).fill_null("").to_numpy(zero_copy_only=False), dtype=object)


def _columns_of(step: Step, kinds: dict[str, str]) -> tuple[str, ...]:
    unknown = [name for name in step.columns if name not in kinds]
    if unknown:
        raise DataError(
            f"transforming: {step.kind}: {', '.join(unknown)} is no input; the inputs are {', '.join(kinds)}"
        )
    takes = "text" if isinstance(step, OneHot) else "number"
    return step.columns or tuple(name for name, kind in kinds.items() if kind == takes)


def _estimator(step: Step) -> Any:  # noqa: ANN401 - scikit-learn has no types
    from sklearn.impute import SimpleImputer
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    match step:
        case Impute():
            return SimpleImputer(strategy=step.strategy, fill_value=step.fill_value)
        case Standardize():
            return StandardScaler()
        case OneHot():
            unknown = "ignore" if step.max_categories is None else "infrequent_if_exist"
            return OneHotEncoder(handle_unknown=unknown, max_categories=step.max_categories, sparse_output=False)
        case _:
            raise DataError(f"transforming: no step {step.kind}")
