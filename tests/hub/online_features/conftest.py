"""Both stores of online features: a SQLite file, and a real Redis."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.simulators.redis_process import RedisProcess, use_library

from shoal_hub.online_features.redis_store import RedisStore
from shoal_hub.online_features.sqlite_store import SqliteStore
from shoal_hub.online_features.store import OnlineStore


@pytest.fixture(scope="session")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisProcess]:
    use_library()
    process = RedisProcess(tmp_path_factory.mktemp("redis")).start()
    yield process
    process.kill()


@pytest.fixture(params=["sqlite", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OnlineStore]:
    opened: OnlineStore
    if request.param == "sqlite":
        opened = SqliteStore(tmp_path / "online.sqlite")
    else:
        opened = RedisStore(request.getfixturevalue("redis").url)
        opened.forget("rides")
        opened.forget("other")
    yield opened
    opened.close()
