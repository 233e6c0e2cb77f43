"""Rows of labels from another source, joined with features as they were known at each label's time."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final

import numpy as np
from pydantic import BeforeValidator, Field, SerializeAsAny, model_validator
from typing_extensions import Self

from shoal_compression.values import Value, content_hash
from shoal_contract.feature_views import FeatureView
from shoal_contract.features import FeatureDefinition
from shoal_contract.ids import Name
from shoal_training.errors import DataError
from shoal_training.feature_store.columns import all_times, need_columns
from shoal_training.feature_store.computing import ROW_COLUMNS, Events, compute
from shoal_training.feature_store.point_in_time import training_set
from shoal_training.feature_store.strict import need_known
from shoal_training.feature_store.views import OnDuplicates, ViewRows
from shoal_training.ingestion.source import Reading, Source
from shoal_training.named_kinds import by_kind

if TYPE_CHECKING:
    import pyarrow as pa

_MAX_VIEWS: Final = 64
_MAX_KEYS: Final = 8
_Column = Annotated[str, Field(min_length=1, max_length=256)]


def _nested(given: object) -> object:
    """Return a source of any kind, which all know each other only once they are all there."""
    kinds = dict(_kinds_below(Source))  # type: ignore[type-abstract]
    return by_kind("source", kinds, default="files")(given)


def _kinds_below(base: type[Source]) -> Iterator[tuple[str, type[Source]]]:
    for one in base.__subclasses__():
        if "kind" in vars(one):
            yield one.kind, one
        yield from _kinds_below(one)


NestedSource = Annotated[SerializeAsAny[Source], BeforeValidator(_nested)]


class View(Value):
    """A feature view: rows of features that somebody has computed, or events of which they are computed."""

    name: Name
    source: NestedSource
    entity: tuple[_Column, ...] = Field(min_length=1, max_length=_MAX_KEYS)
    """Columns that name the entity; the labels have them, too."""
    time: _Column = "event_time"
    """Of the time that values, or events, are of."""
    created: _Column | None = None
    """Of the time at which they were known; none: at once. What was not known at a label's time is not used."""
    features: FeatureView | None = None
    """Of rows: columns as a list, or by name with `ttl_s` and `fallback`."""
    definition: FeatureDefinition | None = None
    """Of events: windows and aggregates, as devices compute them."""

    @model_validator(mode="before")
    @classmethod
    def _wrap(cls, given: object) -> object:
        if not isinstance(given, dict):
            return given
        fields = dict(given)
        if isinstance(fields.get("features"), list | dict):
            named = fields["features"]
            named = dict.fromkeys(named) if isinstance(named, list) else named
            view = FeatureView.model_validate({"features": named})
            need_known(named, view.model_dump(mode="json")["features"], "features")
            fields["features"] = view
        if isinstance(fields.get("definition"), dict):
            definition = FeatureDefinition.model_validate(fields["definition"])
            need_known(fields["definition"], definition.model_dump(mode="json"), "definition")
            fields["definition"] = definition
        return fields

    @model_validator(mode="after")
    def _check_one(self) -> Self:
        if (self.features is None) == (self.definition is None):
            raise ValueError(
                "`features` of rows or a `definition` for events is expected, one of the two; remove or add one"
            )
        if self.definition is not None and len(self.entity) != 1:
            raise ValueError(f"a definition is of one column of entities, {len(self.entity)} found; name one")
        return self

    def rows(self, reading: Reading) -> ViewRows:
        """Read its rows, or compute them.

        Raises:
            DataError: They can not be read or computed.
        """
        table = _whole(self.source, reading)
        if self.definition is None:
            view = self.features or FeatureView(features={})
            return ViewRows(self.name, view, table, self.entity, self.time, self.created)
        events = _events(f"computing view {self.name}", self, table, self.definition)
        computed = compute(self.definition, events).table()
        [entity] = self.entity
        names = [entity, *computed.column_names[1:]]
        computed = computed.rename_columns(names).set_column(0, entity, _keys_like(table[entity], computed["entity"]))
        at, created = ROW_COLUMNS[2:4]
        return ViewRows(self.name, FeatureView.of(self.definition), computed, self.entity, at, created)


class FeaturesSource(Source):
    """Labels with the features that were known when each was made; no label is lost."""

    kind: ClassVar[str] = "features"

    labels: NestedSource
    time: _Column = "event_time"
    """Of the labels."""
    views: tuple[View, ...] = Field(min_length=1, max_length=_MAX_VIEWS)
    on_duplicates: OnDuplicates = "fail"

    def tables(self, reading: Reading) -> Iterator["pa.Table"]:
        """See `Source`."""
        labels = _whole(self.labels, reading)
        found = training_set(
            labels, [view.rows(reading) for view in self.views], time=self.time, on_duplicates=self.on_duplicates
        )
        for done, report in enumerate(found.reports, 1):
            reading.progress(f"joined {report.told()}", done, len(found.reports))
        for start in range(0, len(found.table), reading.batch_rows):
            yield found.table.slice(start, reading.batch_rows)

    def fingerprint(self, reading: Reading) -> str | None:
        """See `Source`: over those of the labels and of each view."""
        prints = [source.fingerprint(reading) for source in (self.labels, *(view.source for view in self.views))]
        return None if None in prints else content_hash(prints)

    def described(self) -> dict[str, Any]:
        """See `Source`: with labels and views as they describe themselves."""
        views = [{**view.model_dump(mode="json"), "source": view.source.described()} for view in self.views]
        return {**super().described(), "labels": self.labels.described(), "views": views}


def _whole(source: Source, reading: Reading) -> "pa.Table":
    import pyarrow as pa

    tables = list(source.tables(reading))
    if not tables:
        raise DataError(f"reading {source.name or source.kind}: there is no row; look at the source")
    return pa.concat_tables(tables)


def _events(doing: str, view: View, table: "pa.Table", definition: FeatureDefinition) -> Events:
    import pyarrow as pa

    [entity] = view.entity
    fields = sorted({one.field for one in definition.features.values() if one.field is not None})
    created = () if view.created is None else (view.created,)
    need_columns(doing, table, (entity, view.time, *created, *fields))
    if table[entity].null_count:
        raise DataError(f"{doing}: {table[entity].null_count} events have no {entity}; fill it in or leave them out")
    at_ns = all_times(doing, table[view.time], view.time)
    came_ns = at_ns if view.created is None else all_times(doing, table[view.created], view.created)
    numbers = {}
    for name in fields:
        try:
            numbers[name] = np.asarray(table[name].cast(pa.float64()).fill_null(np.nan), dtype=np.float64)
        except pa.ArrowException as error:
            raise DataError(f"{doing}: column {name}: {error}; expected numbers") from error
    order = np.argsort(came_ns, kind="stable")
    return Events(
        entities=np.asarray(table[entity].cast(pa.string()).to_pylist(), dtype=object)[order].tolist(),
        at_ns=at_ns[order],
        came_ns=came_ns[order],
        fields={name: column[order] for name, column in numbers.items()},
    )


def _keys_like(keys: "pa.ChunkedArray", names: "pa.ChunkedArray") -> "pa.ChunkedArray":
    """Return entities in the type that they came in."""
    import pyarrow as pa

    return names.cast(pa.int64()) if pa.types.is_integer(keys.type) else names
