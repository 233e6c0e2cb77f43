"""Answers as files, in folders and object stores: one a part, or one a part and folder `column=value`.

Below the path, `_shoal/RUN/` notes each part once its files are there, and `_shoal/RUN.json` is the manifest: who reads
only what it names sees a run as a whole or not at all. Programs that read lakes pass over `_shoal`.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, ClassVar, Final
from urllib.parse import quote

from pydantic import Field

from shoal_training.batch_inference.manifest import Manifest, WrittenFile, WrittenPart
from shoal_training.batch_inference.sinks.sink import Sink, SinkContext, Writer, content_sha256
from shoal_training.batch_inference.sinks.table_forms import FORMS, FileForm
from shoal_training.batch_inference.whole_file import write_whole
from shoal_training.errors import SinkError
from shoal_training.ingestion.found_files import filesystem_of
from shoal_training.ingestion.partitions import NOTHING

if TYPE_CHECKING:
    import pyarrow as pa

RUN_SIGN: Final = "{run}"
NOTES_FOLDER: Final = "_shoal"
_OBJECT_STORES: Final = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss", "oci", "memory"})
"""Protocols of stores that show an object only once it is whole; elsewhere it is renamed."""


class FileSink(Sink):
    """Files below a folder, local or by URL."""

    kind: ClassVar[str] = "files"
    is_exactly_once: ClassVar[bool] = True

    path: str = Field(min_length=1, max_length=4096)
    """A folder, relative to the file, or a URL like s3://…; `{run}` in it becomes the run's id."""
    format: FileForm = "parquet"
    partition_by: tuple[str, ...] = Field(default=(), max_length=8)
    """Columns that become folders `column=value`, as Hive and Spark read them."""
    max_folders: int = Field(default=1_000, ge=1, le=100_000)
    """That the rows of one part may lie in."""

    @property
    def label(self) -> str:
        """See `Sink`."""
        return self.path

    @contextmanager
    def opened(self, context: SinkContext) -> Iterator[Writer]:
        """See `Sink`."""
        path = self.path.replace(RUN_SIGN, context.run)
        url = path if "://" in path else str(context.folder.absolute() / path)
        try:
            filesystem, root = filesystem_of(url)
        except (ImportError, ValueError, OSError) as error:
            raise SinkError(f"writing to {self.label}: {error}; mend the URL, or install what it needs") from error
        yield _FileWriter(self, filesystem, root.rstrip("/"), context.run)


class _FileWriter(Writer):
    def __init__(self, sink: FileSink, filesystem: Any, root: str, run: str) -> None:  # noqa: ANN401 - fsspec's
        self._sink, self._filesystem, self._root, self._run = sink, filesystem, root, run
        protocols = {filesystem.protocol} if isinstance(filesystem.protocol, str) else set(filesystem.protocol)
        self._is_local = "file" in protocols
        self._is_store = bool(protocols & _OBJECT_STORES)

    def written(self) -> Mapping[int, WrittenPart]:
        """See `Writer`: parts whose note is there, and whose files are as it says."""
        notes = f"{self._root}/{NOTES_FOLDER}/{self._run}"
        found: dict[int, WrittenPart] = {}
        with self._says("looking for what is written"):
            self._filesystem.invalidate_cache()
            if not self._filesystem.isdir(notes):
                return found
            for path in self._filesystem.find(notes):
                if path.endswith(".json"):
                    part = WrittenPart.model_validate(json.loads(self._filesystem.cat_file(path)))
                    if all(self._has(one) for one in part.files):
                        found[part.number] = part
        return found

    def write(self, part: int, table: "pa.Table | None") -> WrittenPart:
        """See `Writer`: files under names that an attempt before has given them too, then the note."""
        files = []
        for folder, rows in () if table is None else self._folders(part, table):
            content = FORMS[self._sink.format](rows)
            path = str(PurePosixPath(folder, f"part-{part:06}-{self._run}.{self._sink.format}"))
            self._put(path, content)
            files.append(WrittenFile(path=path, sha256=sha256(content).hexdigest(), size_bytes=len(content)))
        rows = 0 if table is None else len(table)
        done = WrittenPart(number=part, rows=rows, sha256=content_sha256(table), files=tuple(files))
        self._put(f"{NOTES_FOLDER}/{self._run}/{part:06}.json", done.model_dump_json().encode())
        return done

    def finish(self, manifest: Manifest) -> None:
        """See `Writer`."""
        path = f"{NOTES_FOLDER}/{self._run}.json"
        with self._says("looking for the manifest"):
            is_whole = self._is_manifest(f"{self._root}/{path}")
        if not is_whole:
            self._put(path, manifest.model_dump_json(indent=2).encode())

    def _folders(self, part: int, table: "pa.Table") -> "Iterator[tuple[str, pa.Table]]":
        """Yield the folders of rows, and the rows of each without the columns that its name says."""
        import pyarrow as pa
        import pyarrow.compute as pc

        names = list(self._sink.partition_by)
        missing = [name for name in names if name not in table.column_names]
        if missing:
            raise SinkError(
                f"writing to {self._sink.label}: `partition_by`: there is no column {missing[0]}, only "
                f"{', '.join(table.column_names)[:500]}; keep it, or leave it out"
            )
        if not names:
            yield "", table
            return
        texts = pa.table({name: table[name].cast(pa.string()).fill_null(NOTHING) for name in names})
        distinct = texts.group_by(names, use_threads=False).aggregate([]).to_pylist()
        if len(distinct) > self._sink.max_folders:
            raise SinkError(
                f"writing part {part} to {self._sink.label}: its rows lie in {len(distinct)} folders, at most "
                f"{self._sink.max_folders} allowed; partition by what has fewer values, or raise `max_folders`"
            )
        for one in distinct:
            chosen = pc.equal(texts[names[0]], one[names[0]])
            for name in names[1:]:
                chosen = pc.and_(chosen, pc.equal(texts[name], one[name]))
            folder = "/".join(f"{quote(name, safe='')}={quote(one[name], safe='')}" for name in names)
            yield folder, table.filter(chosen).drop_columns(names)

    def _has(self, file: WrittenFile) -> bool:
        path = f"{self._root}/{file.path}"
        return bool(self._filesystem.exists(path)) and self._filesystem.info(path)["size"] == file.size_bytes

    def _is_manifest(self, path: str) -> bool:
        """Whether one is there, and whole."""
        if not self._filesystem.exists(path):
            return False
        try:
            Manifest.model_validate_json(self._filesystem.cat_file(path))
        except ValueError:
            return False
        return True

    def _put(self, path: str, content: bytes) -> None:
        """Write a file whole: object stores show one only once it is, and elsewhere it is renamed."""
        whole = f"{self._root}/{path}"
        with self._says(f"writing {path}"):
            if self._is_local:
                write_whole(Path(whole), content)
            else:
                folder, name = os.path.split(whole)
                self._filesystem.makedirs(folder, exist_ok=True)
                begun = whole if self._is_store else f"{folder}/.{name}.new"
                self._filesystem.pipe_file(begun, content)
                if begun != whole:
                    if self._filesystem.exists(whole):  # of an attempt before; not all rename over what is there
                        self._filesystem.rm_file(whole)
                    self._filesystem.mv(begun, whole)

    @contextmanager
    def _says(self, doing: str) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:
            raise SinkError(
                f"{doing} below {self._sink.label}: {error}; see that it may be written, and has room"
            ) from error
