"""Databases for the hub's tests: each test gets a fresh one, migrated to head, on SQLite and on PostgreSQL."""

import os
import shutil
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.hub.postgres_cluster import PostgresCluster

from shoal_hub.api import create_app
from shoal_hub.audit.key import AuditKey
from shoal_hub.context import HubContext
from shoal_hub.database import Database
from shoal_hub.events.changes import ChangeFeed
from shoal_hub.operators.tokens import create_operator_token
from shoal_hub.registry.artifacts import ArtifactStore
from shoal_hub.settings import Settings
from shoal_hub.trust.ca import DeviceAuthority
from shoal_hub.trust.director import Director
from shoal_hub.trust.hub_trust import HubTrust
from shoal_hub.trust.version_keys import VersionKeys

with warnings.catch_warnings():
    # Starlette would rather have httpx2 for its test client; httpx, which the typed client uses, does the same.
    warnings.simplefilter("ignore")
    from fastapi.testclient import TestClient


@pytest.fixture(autouse=True, scope="session")
def _children_find_the_packages() -> Iterator[None]:
    """Let child processes import what this one does, whether the distribution is installed or not."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
        yield


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresCluster]:
    """One PostgreSQL cluster for the session (with pytest-xdist: for the worker), started when first needed."""
    cluster = PostgresCluster()
    yield cluster
    cluster.stop()


@pytest.fixture(scope="session")
def postgres_template(postgres: PostgresCluster) -> str:
    """A migrated database that others are copied from."""
    name = postgres.create()
    _migrate(postgres.url(name))
    postgres.keep_rows(name)
    return name


@pytest.fixture(scope="session")
def postgres_spare() -> list[str]:
    """Databases that tests have left, as new."""
    return []


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file that others are copied from."""
    path = tmp_path_factory.mktemp("template") / "hub.sqlite"
    _migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """A fresh migrated SQLite database."""
    path = tmp_path / "hub.sqlite"
    shutil.copy(sqlite_template, path)
    return f"sqlite:///{path}"


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A fresh migrated database, once on each engine."""
    if request.param == "sqlite":
        yield request.getfixturevalue("sqlite_url")
        return
    template: str = request.getfixturevalue("postgres_template")
    cluster: PostgresCluster = request.getfixturevalue("postgres")
    spare: list[str] = request.getfixturevalue("postgres_spare")
    name = spare.pop() if spare else cluster.create(template)
    yield cluster.url(name)
    if cluster.wipe(name):
        spare.append(name)
    else:
        cluster.drop(name)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """An open database, once on each engine."""
    opened = Database(database_url)
    yield opened
    opened.close()


@pytest.fixture
def sqlite_database(sqlite_url: str) -> Iterator[Database]:
    """An open SQLite database, for tests that are not about the store."""
    opened = Database(sqlite_url)
    yield opened
    opened.close()


def _migrate(url: str) -> None:
    database = Database(url)
    database.upgrade()
    database.close()


@pytest.fixture
def hub(database: Database, tmp_path: Path) -> HubContext:
    """A hub's open parts, once on each engine, with keys and artifacts in a temporary folder."""
    return open_hub(database, tmp_path / "data")


@pytest.fixture
def sqlite_hub(sqlite_database: Database, tmp_path: Path) -> HubContext:
    """A hub's open parts on SQLite, for tests that are not about the store."""
    return open_hub(sqlite_database, tmp_path / "data")


@pytest.fixture
def client(hub: HubContext) -> Iterator[TestClient]:
    """An operator at the API, once on each engine."""
    yield from _operator_at(hub)


@pytest.fixture
def sqlite_client(sqlite_hub: HubContext) -> Iterator[TestClient]:
    """An operator at the API on SQLite."""
    yield from _operator_at(sqlite_hub)


@pytest.fixture
def stranger(sqlite_hub: HubContext) -> Iterator[TestClient]:
    """A caller without a token."""
    with TestClient(create_app(sqlite_hub), raise_server_exceptions=False) as caller:
        yield caller


def open_hub(database: Database, folder: Path) -> HubContext:
    """Open the parts of a hub around a migrated database."""
    url = database.engine.url.render_as_string(hide_password=False)
    settings = Settings(data_dir=folder, database_url=url)
    AuditKey.open(folder / "trust")
    return HubContext(
        settings=settings,
        database=database,
        artifacts=ArtifactStore(settings.artifacts),
        authority=DeviceAuthority.open(folder / "trust"),
        director=Director.open(folder / "trust"),
        version_keys=VersionKeys.open(folder / "trust"),
        trust=HubTrust.open(settings),
        changes=ChangeFeed(),
        broker_address=lambda: ("hub.test", 8883),
        api_url="https://hub.test:8443",
    )


def _operator_at(hub: HubContext) -> Iterator[TestClient]:
    with hub.database.transaction() as session:
        token = create_operator_token(session, "ada")
    headers = {"Authorization": f"Bearer {token}"}
    with TestClient(create_app(hub), headers=headers, raise_server_exceptions=False) as caller:
        yield caller
