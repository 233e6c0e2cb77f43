"""Writers of what keeps no note of parts itself, topics and addresses: the run's folder notes what was confirmed.

Between a confirmation and its note a process can be killed; the part is sent again then, under the same keys. That is
all that can be had where messages and note are not in one transaction.
"""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from shoal_compression.output_folder import says_unwritable
from shoal_training.batch_inference.manifest import Manifest, WrittenPart
from shoal_training.batch_inference.sinks.rows import json_rows
from shoal_training.batch_inference.sinks.sink import Writer, content_sha256
from shoal_training.batch_inference.whole_file import write_whole

if TYPE_CHECKING:
    import pyarrow as pa

_MANIFEST: Final = "manifest"


class NotedWriter(Writer):
    """Sends parts, and notes each when all of it was confirmed.

    Args:
        run: The run's id.
        notes: The folder of notes.
    """

    def __init__(self, run: str, notes: Path) -> None:
        self.run, self._notes = run, notes

    @abstractmethod
    def send(self, part: int, rows: Iterator[bytes]) -> None:
        """Send rows as JSON, in order, each under `key`, and wait until all are confirmed.

        Raises:
            SinkError: They are not.
        """

    @abstractmethod
    def send_manifest(self, content: bytes) -> None:
        """Send the manifest to who wants it, and wait until it is confirmed.

        Raises:
            SinkError: It is not.
        """

    def key(self, part: int, at: int) -> str:
        """Return by which receivers drop repeats: of the row, or the request, at this place of the part, from 1."""
        return f"{self.run}/{part}/{at}"

    def written(self) -> Mapping[int, WrittenPart]:
        """See `Writer`."""
        found = [WrittenPart.model_validate_json(path.read_bytes()) for path in self._notes.glob("sent-*.json")]
        return {one.number: one for one in found}

    def write(self, part: int, table: "pa.Table | None") -> WrittenPart:
        """See `Writer`."""
        if table is not None:
            self.send(part, json_rows(table))
        done = WrittenPart(number=part, rows=0 if table is None else len(table), sha256=content_sha256(table))
        self._note(f"sent-{part:06}", done.model_dump_json().encode())
        return done

    def finish(self, manifest: Manifest) -> None:
        """See `Writer`."""
        if not (self._notes / f"{_MANIFEST}.json").exists():
            content = manifest.model_dump_json().encode()
            self.send_manifest(content)
            self._note(_MANIFEST, content)

    def _note(self, name: str, content: bytes) -> None:
        with says_unwritable(self._notes):
            write_whole(self._notes / f"{name}.json", content)
