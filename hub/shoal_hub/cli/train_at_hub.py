"""What `shoal train --at-hub` sends, and how a training on this machine is recorded at the hub."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Final

from shoal_client import ClientError, ShoalClient
from shoal_client.run_log import RunLog
from shoal_training.ingestion.found_files import find_files
from shoal_training.pipeline.places import places_of
from shoal_training.pipeline.reading import PipelineFile
from shoal_training.pipeline.record import State
from shoal_training.pipeline.recording import Point, SinkError, Told

_MOST_BYTES: Final = 64 * 2**20
"""That are sent along at most; the hub takes 8 MiB unless it is set otherwise."""
_STATUS: Final[Mapping[State, str]] = {"running": "RUNNING", "finished": "FINISHED", "failed": "FAILED"}


def files_beside(file: PipelineFile) -> dict[str, bytes]:
    """Return the files that a pipeline names by paths beside it, and that are there; others are for the hub to find.

    Raises:
        ClientError: One leads out of the pipeline's folder, or they are too large to be sent.
        DataError: One can not be read.
    """
    folder = file.path.parent.absolute()
    found: dict[str, Path] = {}
    for place in places_of(file.pipeline):
        if place.is_beside:
            for path in map(Path, find_files(place.text, folder, place.suffixes).paths):
                found[_name_of(path, folder)] = path
    total_bytes = sum(path.stat().st_size for path in found.values())
    if total_bytes > _MOST_BYTES:
        raise ClientError(
            f"sending the files of {file.path}: they have {total_bytes} bytes, at most {_MOST_BYTES} are sent",
            "put them where the hub reads them, and name them there: SHOAL_TRAINING_SOURCES",
        )
    return {name: path.read_bytes() for name, path in sorted(found.items())}


def _name_of(path: Path, folder: Path) -> str:
    if not path.is_relative_to(folder) or ".." in path.relative_to(folder).parts:
        raise ClientError(
            f"sending {path}: it does not lie beside the pipeline file, in {folder}", "move it there, or name it whole"
        )
    return path.relative_to(folder).as_posix()


class ClientSink:
    """The run of a training on this machine, told to the hub of the profile; its methods are those of a `RunSink`."""

    def __init__(self, client: ShoalClient) -> None:
        self.log: RunLog = client.run_log()

    def begin(self, experiment: str, name: str, started_at: datetime, tags: Mapping[str, str]) -> Told:
        """See `RunSink`; each training here is a run of its own."""
        with _telling():
            self.log.begin(experiment, name, _to_ms(started_at), tags)
        return ()

    def params(self, params: Mapping[str, str]) -> None:
        """See `RunSink`."""
        with _telling():
            self.log.params(params)

    def data(self, name: str, digest: str) -> None:
        """See `RunSink`."""
        with _telling():
            self.log.data(name, digest)

    def metrics(self, points: Sequence[Point]) -> None:
        """See `RunSink`."""
        with _telling():
            self.log.metrics((one.name, one.value, one.step, one.at_ms) for one in points)

    def file(self, name: str, path: Path) -> None:
        """See `RunSink`."""
        with _telling():
            self.log.file(name, path)

    def end(self, state: State, ended_at: datetime, tags: Mapping[str, str]) -> None:
        """See `RunSink`."""
        with _telling():
            self.log.end(_STATUS[state], _to_ms(ended_at), tags)


@contextmanager
def _telling() -> Iterator[None]:
    """Have what the client raises be a `SinkError`."""
    try:
        yield
    except (ClientError, OSError) as error:
        raise SinkError(f"recording it at the hub: {error}") from error


def _to_ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)
