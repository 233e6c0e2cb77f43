"""Steps that make numbers of categories: a column each, codes in an order, or places by hash."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

import numpy as np
from pydantic import Field, model_validator
from typing_extensions import Self

from shoal_training.errors import DataError
from shoal_training.onnx_samples import Array
from shoal_training.transforms.frame import ColumnKind, Frame
from shoal_training.transforms.graph_writer import GraphWriter
from shoal_training.transforms.step import FittedStep, Step, numbers_to_fit

MAX_CATEGORIES: Final = 10_000
"""Columns that one column of categories may become."""
_ML: Final = "ai.onnx.ml"


class OneHot(Step):
    """Makes a column of each category; one that was not seen in training is none of them."""

    kind: ClassVar[str] = "one_hot"
    takes: ClassVar[frozenset[ColumnKind]] = frozenset({"text", "number"})

    max_categories: int | None = Field(default=None, ge=2, le=MAX_CATEGORIES)
    """The most frequent ones; the others share a column, as do those that were not seen. None: all."""

    def chosen(self, frame: Frame) -> tuple[str, ...]:
        """See `Step`: texts; numbers are named."""
        return frame.named(frozenset({"text"}))

    def fit(self, frame: Frame, names: tuple[str, ...]) -> tuple[FittedStep, ...]:
        """See `Step`."""
        return tuple(self._of(frame, name) for name in names)

    def _of(self, frame: Frame, name: str) -> FittedStep:
        from sklearn.preprocessing import OneHotEncoder

        is_text = frame.kind_of(name) == "text"
        block = frame.block([name])
        if not is_text:
            numbers = numbers_to_fit(self, frame, [name])
            block = numbers[~np.isnan(numbers[:, 0])].astype(np.float32)
        unknown = "ignore" if self.max_categories is None else "infrequent_if_exist"
        fitted = OneHotEncoder(handle_unknown=unknown, max_categories=self.max_categories).fit(block)
        infrequent = getattr(fitted, "infrequent_categories_", [None])[0]
        rare = set() if infrequent is None else set(infrequent.tolist())
        kept = [one for one in fitted.categories_[0].tolist() if one not in rare]
        if len(kept) > MAX_CATEGORIES:
            raise DataError(
                f"transforming: one_hot: {name} has {len(kept)} categories, at most {MAX_CATEGORIES} become columns; "
                "set `max_categories`, take the step `hash`, or leave the column out"
            )
        given = [f"{name}={one}" if is_text else f"{name}={one:g}" for one in kept]
        if not rare:
            return _indicated(name, kept, given, is_text=is_text, other=-1)
        return _indicated(name, kept, [*given, f"{name}=(others)"], is_text=is_text, other=len(kept))


class Ordinal(Step):
    """Puts a text's place in an order, counted from 0; one that is not in it is -1."""

    kind: ClassVar[str] = "ordinal"
    takes: ClassVar[frozenset[ColumnKind]] = frozenset({"text"})

    order: tuple[str, ...] = Field(default=(), max_length=MAX_CATEGORIES)
    """Of the texts, the lowest first; empty: those of the rows that are learned from, as they are sorted."""
    unknown_value: float = -1.0

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if len(set(self.order)) < len(self.order):
            raise ValueError("`order` names a text twice; name each once")
        return self

    def fit(self, frame: Frame, names: tuple[str, ...]) -> tuple[FittedStep, ...]:
        """See `Step`."""
        from sklearn.preprocessing import OrdinalEncoder

        given = [np.array(self.order, dtype=np.object_)] * len(names) if self.order else "auto"
        fitted = OrdinalEncoder(categories=given, handle_unknown="use_encoded_value", unknown_value=-1)
        found = fitted.fit(frame.block(names)).categories_
        return tuple(self._of(name, one.tolist()) for name, one in zip(names, found, strict=True))

    def _of(self, name: str, order: Sequence[str]) -> FittedStep:
        unknown = np.float32(self.unknown_value)

        def compute(block: Array) -> Array:
            codes = _text_codes(block[:, 0], order, -1)
            return np.where(codes < 0, unknown, codes.astype(np.float32)).reshape(-1, 1)

        def write(writer: GraphWriter, tensor: str) -> str:
            codes = writer.cast(_written_codes(writer, tensor, order, -1), np.float32)
            is_unknown = writer.add("Less", codes, writer.constant([0.0], np.float32))
            return writer.add("Where", is_unknown, writer.constant([unknown], np.float32), codes)

        return FittedStep((name,), (name,), compute, write)


class Hash(Step):
    """Makes a fixed number of columns of any texts; a text is 1 in the one that its hash says. Nothing is learned.

    The hash is MurmurHash3 (32 bits, seed 0) of the UTF-8. ONNX has no operator for it, ONNX Runtime has one of its
    own: a hub takes such a model if its setting SHOAL_ONNX_DOMAINS names com.microsoft.
    """

    kind: ClassVar[str] = "hash"
    takes: ClassVar[frozenset[ColumnKind]] = frozenset({"text"})

    buckets: int = Field(default=16, ge=2, le=MAX_CATEGORIES)

    def fit(self, frame: Frame, names: tuple[str, ...]) -> tuple[FittedStep, ...]:  # noqa: ARG002 - nothing is learned
        """See `Step`."""
        return tuple(self._of(name) for name in names)

    def _of(self, name: str) -> FittedStep:
        places = np.arange(self.buckets, dtype=np.int64)

        def compute(block: Array) -> Array:
            return np.asarray(_hashes(block[:, 0])[:, np.newaxis] % self.buckets == places, dtype=np.float32)

        def write(writer: GraphWriter, tensor: str) -> str:
            hashed = writer.add("MurmurHash3", tensor, domain="com.microsoft", seed=0, positive=1)
            place = writer.add("Mod", writer.cast(hashed, np.int64), writer.constant(self.buckets, np.int64))
            return writer.cast(writer.add("Equal", place, writer.constant(places, np.int64)), np.float32)

        return FittedStep((name,), tuple(f"{name}#{at}" for at in range(self.buckets)), compute, write)


def _indicated(name: str, kept: Sequence[object], given: Sequence[str], *, is_text: bool, other: int) -> FittedStep:
    """Return a column for each of `given`: the kept categories, and at `other`, unless that is -1, all else."""
    places = np.arange(len(given), dtype=np.int64)
    numbers = np.array([] if is_text else kept, dtype=np.float32)

    def compute(block: Array) -> Array:
        if is_text:
            return np.asarray(_text_codes(block[:, 0], kept, other)[:, np.newaxis] == places, dtype=np.float32)
        found = block == numbers
        if other >= 0:
            found = np.column_stack([found, ~found.any(axis=1)])
        return np.asarray(found, dtype=np.float32)

    def write(writer: GraphWriter, tensor: str) -> str:
        if is_text:
            codes = _written_codes(writer, tensor, kept, other)
            return writer.cast(writer.add("Equal", codes, writer.constant(places, np.int64)), np.float32)
        found = writer.cast(writer.add("Equal", tensor, writer.constant(numbers, np.float32)), np.float32)
        if other < 0:
            return found
        seen = writer.add("ReduceSum", found, writer.constant([1], np.int64), keepdims=1)
        return writer.add("Concat", found, writer.add("Sub", writer.constant([1.0], np.float32), seen), axis=1)

    return FittedStep((name,), tuple(given), compute, write)


def _text_codes(texts: Array, known: Sequence[object], other: int) -> Array:
    """Return the place of each text among the known ones, (rows,) int64; `other` for all else."""
    import pyarrow as pa
    import pyarrow.compute as pc

    values = pa.array(list(known), pa.string())
    return np.asarray(pc.index_in(pa.array(texts, pa.string()), values).fill_null(other).to_numpy(), dtype=np.int64)


def _written_codes(writer: GraphWriter, tensor: str, known: Sequence[object], other: int) -> str:
    """Write the same."""
    keys: Mapping[str, object] = {"keys_strings": list(known), "values_int64s": list(range(len(known)))}
    return writer.add("LabelEncoder", tensor, domain=_ML, default_int64=other, **keys)


def _hashes(texts: Array) -> Array:
    """Return the hash of each text, (rows,) int64; of each that differs once."""
    import pyarrow as pa
    from sklearn.utils import murmurhash3_32

    coded = pa.array(texts, pa.string()).dictionary_encode()
    found = [murmurhash3_32(text, seed=0, positive=True) for text in coded.dictionary.to_pylist()]
    return np.asarray(np.array(found, dtype=np.int64)[coded.indices.to_numpy()])
