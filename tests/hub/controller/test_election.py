"""One controller at a time: two real ones on one PostgreSQL, and a first one that comes back too late."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlmodel import select
from tests.hub.audit.trail import read
from tests.simulators.broker import running_broker
from tests.simulators.rows import add_device

from shoal_hub.addresses import Addresses
from shoal_hub.audit.actor import CONTROLLER
from shoal_hub.audit.record import record
from shoal_hub.controller.election import Election, FencedError
from shoal_hub.controller.tables import ControllerFence
from shoal_hub.database import Database
from shoal_hub.devices.tables import DesiredRow, Device
from shoal_hub.processes.ready import is_ready
from shoal_hub.settings import Settings

WAIT_S = 40.0


@pytest.fixture
def second(database: Database) -> Iterator[Database]:
    """Another process's view of the same database."""
    opened = Database(database.engine.url.render_as_string(hide_password=False))
    yield opened
    opened.close()


def test_only_one_is_elected_until_it_resigns(database: Database, second: Database, tmp_path: Path) -> None:
    first_election, other = Election(database, tmp_path / "lock"), Election(second, tmp_path / "lock")
    assert first_election.stand()
    assert not other.stand()
    first_election.confirm()
    first_election.resign()
    assert other.stand()
    other.resign()


def test_a_controller_that_was_followed_can_commit_nothing_more(
    database: Database, second: Database, tmp_path: Path
) -> None:
    first_election = Election(database, tmp_path / "lock")
    assert first_election.stand()
    with database.transaction() as session:
        add_device(session)
    # The lock is lost, as when the server drops the connection; the first does not know yet.
    follower = Election(second, tmp_path / "another-lock")
    if first_election._connection is not None:
        first_election._connection.invalidate()
    assert follower.stand()
    with pytest.raises(FencedError, match="number 1, number 2 is in charge"), database.transaction() as session:
        add_device(session)
    with second.transaction() as session:
        add_device(session)
        assert len(session.exec(select(Device)).all()) == 2
    follower.resign()
    first_election.resign()


def test_a_controller_in_charge_holds_up_nobodys_entry_in_the_audit_trail(
    database: Database, second: Database, tmp_path: Path
) -> None:
    election = Election(database, tmp_path / "lock")
    assert election.stand()
    with second.transaction() as session:
        if second.engine.dialect.name == "postgresql":
            session.connection().exec_driver_sql("SET LOCAL lock_timeout = '5s'")
        record(session, CONTROLLER, "test", "test", {}, {})
    assert len(read(second)) == 1
    election.resign()


@pytest.mark.postgres
def test_a_lost_connection_is_noticed_at_the_next_look(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    cluster, template = request.getfixturevalue("postgres"), request.getfixturevalue("postgres_template")
    database = Database(cluster.url(cluster.create(template)))
    election = Election(database, tmp_path / "lock")
    assert election.stand()
    with database.session() as session:
        session.connection().exec_driver_sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
            " AND datname = current_database()"
        )
    with pytest.raises(FencedError, match="connection to the database is gone"):
        election.confirm()
    database.check = None
    database.close()


class Process:
    """A controller as the supervisor starts it, on a data folder that it shares with another."""

    def __init__(self, settings: Settings, log: Path) -> None:
        self.settings = settings
        environment = os.environ | settings.to_environment()
        environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
        with log.open("wb") as out:
            self.child = subprocess.Popen(
                [sys.executable, "-m", "shoal_hub.processes", "controller"],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )

    @property
    def is_ready(self) -> bool:
        return is_ready(self.settings, "controller", self.child.pid)

    def kill(self) -> None:
        self.child.send_signal(signal.SIGKILL)
        self.child.wait()


@pytest.mark.slow
@pytest.mark.postgres
def test_the_second_of_two_controllers_takes_over_when_the_first_is_killed(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    cluster, template = request.getfixturevalue("postgres"), request.getfixturevalue("postgres_template")
    url = cluster.url(cluster.create(template))
    database = Database(url)
    with running_broker(tmp_path) as broker:
        settings = Settings(data_dir=tmp_path, database_url=url, tick_s=0.3)
        Addresses(
            api_url="https://localhost:1",
            api_port=1,
            broker_host="127.0.0.1",
            broker_port=broker.device_port,
            hub_listener_host="127.0.0.1",
            hub_listener_port=broker.config.hub.port,
        ).write(settings)
        first = Process(settings, tmp_path / "first.log")
        _wait(lambda: first.is_ready, tmp_path / "first.log")
        second = Process(settings, tmp_path / "second.log")
        _wait(lambda: second.is_ready, tmp_path / "second.log")
        try:
            assert "another controller is in charge" in (tmp_path / "second.log").read_text()
            assert _number(database) == 1
            device_id = _add_device(database)
            _wait(lambda: _has_state(database, device_id), tmp_path / "first.log")
            first.kill()
            _wait(lambda: _number(database) == 2, tmp_path / "second.log")
            later = _add_device(database)
            _wait(lambda: _has_state(database, later), tmp_path / "second.log")
        finally:
            first.kill()
            second.kill()
    database.close()


def _add_device(database: Database) -> str:
    with database.transaction() as session:
        return add_device(session).id


def _has_state(database: Database, device_id: str) -> bool:
    with database.session() as session:
        return session.get(DesiredRow, device_id) is not None


def _number(database: Database) -> int:
    with database.session() as session:
        return session.get_one(ControllerFence, 1).number


def _wait(holds: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < deadline, log.read_text()[-3000:]
        time.sleep(0.1)
