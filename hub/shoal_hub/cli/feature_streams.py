"""`shoal features stream|recompute`: features of an event stream, computed here and kept in the hub's online store."""

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import BaseModel

from shoal_client import ClientError, ShoalClient
from shoal_hub.cli.connection import connect
from shoal_hub.cli.output import AsJson, console, errors, print_json
from shoal_training.errors import TrainingError
from shoal_training.feature_store.definition import StreamDefinition, read_stream
from shoal_training.feature_store.stream import Closed, FeatureStream, Sink

File = Annotated[Path, typer.Argument(metavar="STREAM", help="The stream file.", exists=True, dir_okay=False)]
Folder = Annotated[Path, typer.Option(help="Folder of kept events and open windows.")]
Online = Annotated[bool, typer.Option(help="Keep results in the hub's online store, in views named as definitions.")]
DEFAULT_FOLDER = Path(".shoal-streams")


class StreamEnd(BaseModel):
    """What a stream came to."""

    events: int
    malformed: int
    late: dict[str, int]
    """By definition: events that came too late for their window."""


class Recomputed(BaseModel):
    """A definition that was computed again."""

    definition: str
    windows: int


def add_commands(app: typer.Typer) -> None:
    """Add the commands to those of `shoal features`."""
    app.command(epilog="Example: shoal features stream clicks.yaml")(stream)
    app.command(epilog="Example: shoal features recompute clicks.yaml --out features")(recompute)


def stream(file: File, folder: Folder = DEFAULT_FOLDER, online: Online = True, as_json: AsJson = False) -> None:
    """Take events of a broker, compute features as windows close, and keep and publish them; until Ctrl-C."""
    with _telling(), ExitStack() as opened:
        read = read_stream(file)
        running = FeatureStream(read, folder / read.name, list(_sinks(read, opened, is_online=online)))
        opened.callback(running.close)
        source = opened.enter_context(read.events.open(read.name))
        errors.print(f"taking events of {read.name}; Ctrl-C ends it, and what comes meanwhile waits at the broker")
        running.run(source, _stop_asked())
    if as_json:
        counts = running.counts
        print_json(StreamEnd(events=counts.events, malformed=counts.malformed, late=dict(running.late)))
        return
    late = ", ".join(f"{name} {count}" for name, count in running.late.items() if count)
    console.print(f"{running.counts.events} events taken, {running.counts.malformed} lines were none")
    if late:
        errors.print(f"too late for their window: {late}; shoal features recompute {file} has them")


def recompute(
    file: File,
    folder: Folder = DEFAULT_FOLDER,
    online: Online = True,
    out: Annotated[Path | None, typer.Option(help="Folder for a Parquet file of each definition.")] = None,
    as_json: AsJson = False,
) -> None:
    """Compute all kept events again, with those that came too late, in place of what was streamed."""
    with _telling(), ExitStack() as opened:
        read = read_stream(file)
        running = FeatureStream(read, folder / read.name, list(_sinks(read, opened, is_online=online)))
        opened.callback(running.close)
        found = running.recompute()
    for one in found:
        if out is not None:
            import pyarrow.parquet as pq

            out.mkdir(parents=True, exist_ok=True)
            pq.write_table(one.rows.table(), out / f"{one.definition}.parquet")
        if not as_json:
            console.print(f"{one.definition}: {len(one.rows.windows.entities)} windows")
    if as_json:
        print_json([Recomputed(definition=one.definition, windows=len(one.rows.windows.entities)) for one in found])


def _sinks(read: StreamDefinition, opened: ExitStack, *, is_online: bool) -> Iterator[Sink]:
    if is_online:
        client = opened.enter_context(connect())
        for name, definition in read.definitions.items():
            features = {one: feature.model_dump(mode="json") for one, feature in definition.features.items()}
            client.online_features.define(name, {"features": features})
        yield _online(client)
    if read.output is not None:
        results = opened.enter_context(read.output.open())

        def publish(closed: Sequence[Closed]) -> None:
            lines = [line for one in closed for line in one.lines()]
            results.publish(lines, [entity for one in closed for entity in one.rows.windows.entities])

        yield publish


def _online(client: ShoalClient) -> Sink:
    def keep(closed: Sequence[Closed]) -> None:
        for one in closed:
            client.online_features.put(one.definition, _latest(one))

    return keep


def _latest(closed: Closed) -> list[dict[str, Any]]:
    """Return the last window of each entity as a row of the online store."""
    rows = closed.rows.windows
    last = {entity: place for place, entity in enumerate(rows.entities)}
    return [
        {
            "entity": entity,
            "at": datetime.fromtimestamp(int(rows.end_ns[place]) // 1000 / 1e6, UTC),
            "values": {
                name: float(value)
                for name, value in zip(closed.rows.features, rows.values[place], strict=True)
                if value == value  # noqa: PLR0124 - NaN is no value
            },
        }
        for entity, place in last.items()
    ]


@contextmanager
def _telling() -> Iterator[None]:
    try:
        yield
    except TrainingError as error:
        raise ClientError(str(error), "") from error


def _stop_asked() -> Callable[[], bool]:
    """Return what says whether somebody wants the stream to end."""
    asked = threading.Event()
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, lambda *_: asked.set())
    return asked.is_set
