"""What a document reaches beside itself: files, addresses, code, secrets. For whoever runs those of other people."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from shoal_training.errors import DataError
from shoal_training.ingestion import files, images
from shoal_training.ingestion.features import FeaturesSource
from shoal_training.ingestion.files import FileSource
from shoal_training.ingestion.http_api import HttpSource
from shoal_training.ingestion.images import ImageSource
from shoal_training.ingestion.kafka_stream import KafkaSource
from shoal_training.ingestion.mqtt_stream import MqttSource
from shoal_training.ingestion.source import Source
from shoal_training.ingestion.sql import SqlSource

Kind = Literal["files", "folder", "address", "database", "bundle", "code", "secret", "option"]


class Place(NamedTuple):
    """Something that is reached.

    Attributes:
        kind: `files`: a path, pattern or URL of files; `folder`: a path that is written below; `address`: of a server;
            `database`: its URL; `bundle`: a folder with a model; `code`: a file of Python; `secret`: an environment
            variable; `option`: of a client, by its name.
        text: It, as the document has it.
        suffixes: Of `files`, the endings that are taken from a folder.
    """

    kind: Kind
    text: str
    suffixes: tuple[str, ...] = ()

    @property
    def is_local(self) -> bool:
        """Whether it is a path, and no URL."""
        return self.kind in {"files", "folder", "code"} and "://" not in self.text

    @property
    def is_beside(self) -> bool:
        """Whether it is a path that begins where the document lies."""
        return self.is_local and self.kind != "folder" and not Path(self.text).is_absolute()


def places_of_source(source: Source) -> Iterator[Place]:
    """Yield what a source reads from.

    Raises:
        DataError: Nothing is known here of its kind.
    """
    match source:
        case FileSource():
            yield Place("files", source.path, tuple(files.SUFFIXES))
        case ImageSource():
            yield Place("files", source.path, tuple(images.SUFFIXES))
        case FeaturesSource():
            for one in (source.labels, *(view.source for view in source.views)):
                yield from places_of_source(one)
        case SqlSource():
            yield database_place(source.url)
            yield from secret_places([source.password_env])
        case HttpSource():
            yield Place("address", source.url)
            yield from secret_places(source.secret_headers.values())
        case KafkaSource():
            yield from kafka_places(source.servers, source.settings, source.password_env)
        case MqttSource():
            yield from mqtt_places(source.host, source.port, source.ca_file, source.password_env)
        case _:
            raise DataError(f"looking at what is read: nothing is known of the source {source.kind}")


def database_place(url: str) -> Place:
    """Return a database's place: the file of SQLite, whose queries reach no other; the whole URL of any other."""
    from sqlalchemy import make_url

    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return Place("files", parsed.database or "")  # as it is opened: what is quoted in the URL is not there
    return Place("database", url)


def kafka_places(servers: str, settings: Mapping[str, str], password_env: str | None) -> Iterator[Place]:
    """Yield the brokers of a cluster, and what its client is told."""
    yield from (Place("address", f"kafka://{one.strip()}") for one in servers.split(","))
    yield from (Place("option", f"kafka {name}") for name in settings)
    yield from secret_places([password_env])


def mqtt_places(host: str, port: int, ca_file: str | None, password_env: str | None) -> Iterator[Place]:
    """Yield a broker, and the certificates that it is known by."""
    yield Place("address", f"mqtt://{host}:{port}")
    yield from secret_places([password_env])
    if ca_file not in {None, "system"}:
        yield Place("files", str(ca_file))


def secret_places(variables: Iterable[str | None]) -> Iterator[Place]:
    """Yield the environment variables that there are."""
    yield from (Place("secret", one) for one in variables if one is not None)
