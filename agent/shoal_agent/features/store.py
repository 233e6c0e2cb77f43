"""The online feature store: the latest values of each entity, how old they may be, and windows that a restart resumes.

Values are written as windows close; what a power cut takes of them comes again. When there are too many entities, or
too many bytes, the stalest ones go.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from logging import getLogger
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from pydantic import ValidationError

from shoal_agent.durable import make_folder
from shoal_agent.errors import DiskError
from shoal_agent.settings import FeatureSettings
from shoal_agent.sqlite_file import open_sqlite
from shoal_contract.features import FeatureDefinition
from shoal_numerics.features import WindowRows

if TYPE_CHECKING:
    from numpy.typing import NDArray

_log = getLogger(__name__)
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS definitions (name TEXT PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS entities (name TEXT PRIMARY KEY, at_ns INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS entities_by_age ON entities (at_ns);
CREATE TABLE IF NOT EXISTS latest (
    entity TEXT NOT NULL, definition TEXT NOT NULL, at_ns INTEGER NOT NULL, value BLOB NOT NULL,
    PRIMARY KEY (entity, definition)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS windows (
    pipeline TEXT NOT NULL, definition TEXT NOT NULL, state BLOB NOT NULL, PRIMARY KEY (pipeline, definition)
);
CREATE TABLE IF NOT EXISTS places (pipeline TEXT PRIMARY KEY, place TEXT NOT NULL);
"""
_LATEST: Final = """
INSERT INTO latest VALUES (?, ?, ?, ?) ON CONFLICT (entity, definition) DO UPDATE
SET at_ns = excluded.at_ns, value = excluded.value WHERE excluded.at_ns >= latest.at_ns
"""
_ENTITY: Final = (
    "INSERT INTO entities VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET at_ns = max(at_ns, excluded.at_ns)"
)
_STALEST: Final = "SELECT name FROM entities ORDER BY at_ns LIMIT ?"


class FeatureValue(NamedTuple):
    """A feature as it is read.

    Attributes:
        value: The latest one, or the fallback; None where there is neither.
        at_ns: The end of the window that it is of; None where there never was one.
        age_s: How long ago that was.
        is_fresh: Whether the value is of a window that is not older than its time to live.
        is_fallback: Whether the fallback stands for it.
    """

    value: float | None
    at_ns: int | None
    age_s: float | None
    is_fresh: bool
    is_fallback: bool


@dataclass
class SavedPipeline:
    """What a pipeline goes on with after a restart: the state of its windows by definition, and its source's place."""

    windows: dict[str, bytes]
    place: str = ""


class FeatureStore:
    """`<data>/features.sqlite`. Methods may be called from any thread; each raises DiskError where the disk fails.

    A damaged file is put aside and another begun: what was in it comes again.

    Args:
        path: The file.
        settings: Bounds.
        clock_ns: The time in ns since 1970, against which ages are told.
    """

    def __init__(self, path: Path, settings: FeatureSettings, clock_ns: Callable[[], int]) -> None:
        self._path = path
        self._settings = settings
        self._clock_ns = clock_ns
        self._lock = threading.Lock()
        self.evicted = 0
        """Entities that have given way since the start."""
        make_folder(path.parent)
        self._database = open_sqlite(path, _SCHEMA, "NORMAL", "features come again as windows close")
        self._definitions = self._read_definitions()

    def define(self, name: str, definition: FeatureDefinition) -> None:
        """Have a definition's features read and written from now on; values of other features by its name are gone."""
        with self._writing("defining features"):
            former = self._definitions.get(name)
            if former is not None and former.features.keys() != definition.features.keys():
                self._forget(name)
            self._database.execute(
                "INSERT OR REPLACE INTO definitions VALUES (?, ?)", (name, definition.model_dump_json())
            )
            self._definitions[name] = definition

    def drop(self, name: str) -> None:
        """Forget a definition and its values."""
        with self._writing("dropping features"):
            self._forget(name)
            self._database.execute("DELETE FROM definitions WHERE name = ?", (name,))
            self._definitions.pop(name, None)

    def defined(self) -> list[str]:
        """Return the names of definitions."""
        return sorted(self._definitions)

    def put(self, name: str, rows: WindowRows) -> None:
        """Keep the latest values of a definition, one row an entity; the features are in order of their names.

        Args:
            name: The definition.
            rows: Windows that have closed, those of one entity in order of time. An older one than is held changes
                nothing.
        """
        if not rows.entities:
            return
        row_of = {entity: row for row, entity in enumerate(rows.entities)}  # the last of each
        at_ns = rows.end_ns.tolist()
        with self._writing("keeping features"):
            self._database.executemany(_ENTITY, ((entity, at_ns[row]) for entity, row in row_of.items()))
            values = ((entity, name, at_ns[row], rows.values[row].tobytes()) for entity, row in row_of.items())
            self._database.executemany(_LATEST, values)
            self._evict()

    def read(self, entity: str, names: Sequence[str] | None = None) -> dict[str, FeatureValue]:
        """Return an entity's features as `<definition>/<feature>`, with fallbacks where there is no fresh value.

        Args:
            entity: Any; of one that is not known there are fallbacks alone.
            names: Definitions; None: all.
        """
        with self._reading("reading features"):
            rows = self._database.execute(
                "SELECT definition, at_ns, value FROM latest WHERE entity = ?", (entity,)
            ).fetchall()
            definitions = dict(self._definitions)
        held = {row[0]: (row[1], np.frombuffer(row[2])) for row in rows}
        now_ns, found = self._clock_ns(), {}
        for name, definition in sorted(definitions.items()):
            if names is None or name in names:
                for feature, value in _values_of(definition, held.get(name), now_ns):
                    found[f"{name}/{feature}"] = value
        return found

    def knows(self, entity: str) -> bool:
        """Whether there are values of an entity."""
        with self._reading("looking for an entity"):
            row = self._database.execute("SELECT 1 FROM entities WHERE name = ?", (entity,)).fetchone()
        return row is not None

    def entities(self) -> int:
        """Return how many entities there are."""
        with self._reading("counting entities"):
            return int(self._database.execute("SELECT count(*) FROM entities").fetchone()[0])

    def save(self, pipeline: str, saved: SavedPipeline) -> None:
        """Keep what a pipeline goes on with, windows and place together."""
        with self._writing("saving open windows"):
            self._database.execute("DELETE FROM windows WHERE pipeline = ?", (pipeline,))
            rows = ((pipeline, name, state) for name, state in saved.windows.items())
            self._database.executemany("INSERT INTO windows VALUES (?, ?, ?)", rows)
            self._database.execute("INSERT OR REPLACE INTO places VALUES (?, ?)", (pipeline, saved.place))

    def saved(self, pipeline: str) -> SavedPipeline:
        """Return what `save` has kept of a pipeline."""
        with self._reading("loading open windows"):
            windows = self._database.execute(
                "SELECT definition, state FROM windows WHERE pipeline = ?", (pipeline,)
            ).fetchall()
            place = self._database.execute("SELECT place FROM places WHERE pipeline = ?", (pipeline,)).fetchone()
        return SavedPipeline(dict(windows), place[0] if place else "")

    def forget_pipeline(self, pipeline: str) -> None:
        """Drop what a pipeline would go on with."""
        with self._writing("forgetting open windows"):
            self._database.execute("DELETE FROM windows WHERE pipeline = ?", (pipeline,))
            self._database.execute("DELETE FROM places WHERE pipeline = ?", (pipeline,))

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._database.close()

    def _forget(self, name: str) -> None:
        self._database.execute("DELETE FROM latest WHERE definition = ?", (name,))
        self._database.execute("DELETE FROM entities WHERE name NOT IN (SELECT entity FROM latest)")

    def _evict(self) -> None:
        """Drop the stalest entities beyond the bounds, a few more than needed so that it is not done each time."""
        count = int(self._database.execute("SELECT count(*) FROM entities").fetchone()[0])
        surplus = max(count - self._settings.max_entities, 0)
        if not surplus and self._held_bytes() > self._settings.max_store_bytes:
            surplus = max(count // 10, 1)
        if surplus:
            stalest = self._database.execute(_STALEST, (surplus,)).fetchall()
            self._database.executemany("DELETE FROM latest WHERE entity = ?", stalest)
            self._database.executemany("DELETE FROM entities WHERE name = ?", stalest)
            self.evicted += len(stalest)

    def _held_bytes(self) -> int:
        pages, free, size = (
            int(self._database.execute(f"PRAGMA {name}").fetchone()[0])
            for name in ("page_count", "freelist_count", "page_size")
        )
        return (pages - free) * size

    def _read_definitions(self) -> dict[str, FeatureDefinition]:
        found = {}
        for name, body in self._database.execute("SELECT name, body FROM definitions").fetchall():
            try:
                found[name] = FeatureDefinition.model_validate_json(body)
            except ValidationError as error:  # of another version of the agent
                _log.warning("features: definition %s in %s is not understood: %s", name, self._path, error)
        return found

    @contextmanager
    def _writing(self, doing: str) -> Iterator[None]:
        """Hold the database for one transaction."""
        with self._reading(doing):
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")

    @contextmanager
    def _reading(self, doing: str) -> Iterator[None]:
        with self._lock:
            try:
                yield
            except sqlite3.Error as error:
                raise DiskError(f"{doing} in {self._path}: {error}", "free some disk space") from error


def _values_of(
    definition: FeatureDefinition, held: tuple[int, NDArray[np.float64]] | None, now_ns: int
) -> Iterator[tuple[str, FeatureValue]]:
    at_ns = held[0] if held else None
    age_s = (now_ns - held[0]) / 1e9 if held else None
    for place, (name, feature) in enumerate(sorted(definition.features.items())):
        value = float(held[1][place]) if held and len(held[1]) == len(definition.features) else float("nan")
        is_fresh = age_s is not None and age_s <= feature.ttl_s and value == value  # noqa: PLR0124 - NaN is not
        shown = value if is_fresh else feature.fallback
        yield name, FeatureValue(shown, at_ns, age_s, is_fresh, not is_fresh and feature.fallback is not None)
