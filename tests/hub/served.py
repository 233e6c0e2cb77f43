"""Serves a hub's API over real HTTPS in a thread, for tests of clients."""

import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import uvicorn
from tests.hub.conftest import open_hub

from shoal_hub.api import create_app
from shoal_hub.context import HubContext
from shoal_hub.database import Database
from shoal_hub.operators.tokens import create_operator_token

_START_S = 20.0


@dataclass(frozen=True)
class ServedHub:
    """A hub that answers at `url`, with the CA that signs for it and an operator's token."""

    hub: HubContext
    url: str
    ca_path: Path
    token: str


@contextmanager
def served_hub(folder: Path) -> Iterator[ServedHub]:
    """Serve a fresh hub for the length of the block."""
    database = Database(f"sqlite:///{folder / 'hub.sqlite'}")
    database.upgrade()
    hub = open_hub(database, folder)
    database.on_commit = hub.changes.tell
    with database.transaction() as session:
        token = create_operator_token(session, "ada")
    identity = hub.authority.issue_server(["localhost"])
    config = uvicorn.Config(
        create_app(hub),
        ssl_certfile=str(identity.certificate),
        ssl_keyfile=str(identity.key),
        log_level="error",
        ws="none",
        timeout_graceful_shutdown=1,
    )
    with socket.socket() as listener, pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))  # for the hub's children
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        _wait(server)
        try:
            url = f"https://localhost:{listener.getsockname()[1]}"
            yield ServedHub(hub, url, hub.authority.certificate_path, token)
        finally:
            server.should_exit = True
            thread.join()
            database.close()


def _wait(server: uvicorn.Server) -> None:
    deadline = time.monotonic() + _START_S
    while not server.started:
        if time.monotonic() > deadline:
            msg = "the API did not start"
            raise TimeoutError(msg)
        time.sleep(0.01)  # uvicorn tells nobody
