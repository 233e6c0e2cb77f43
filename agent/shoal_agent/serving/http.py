"""The HTTP server inside the agent's own task group: no signal handlers, no process of its own, loopback only."""

import logging
import socket
from typing import Final

import anyio
import uvicorn
from anyio.abc import TaskStatus
from starlette.types import ASGIApp

from shoal_agent.errors import AgentError
from shoal_agent.serving.protocol import OneWriteProtocol
from shoal_agent.serving.settings import ServingSettings

LOOPBACK: Final = ("127.0.0.1", "::1")

log = logging.getLogger(__name__)


class ServingError(AgentError):
    """The local endpoint could not be opened."""

    code = "serving"
    default_remedy = "choose a free port and a local address, then restart the agent"


class _EmbeddedServer(uvicorn.Server):
    """uvicorn's server without its signal handlers and without its ten ticks a second."""

    async def main_loop(self) -> None:
        await self.on_tick(0)
        await anyio.sleep_forever()


async def serve(
    app: ASGIApp,
    host: str = LOOPBACK[0],
    port: int = 0,
    settings: ServingSettings = ServingSettings(),  # noqa: B008 - frozen
    *,
    task_status: TaskStatus[int] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Serve an ASGI app until cancelled: `port = await group.start(serve, app, "127.0.0.1", 8080)`.

    Args:
        app: What `create_app` returns.
        host: A loopback address, unless `settings.allow_remote`.
        port: TCP port; 0 takes a free one.
        settings: Bounds.
        task_status: Receives the bound port once connections are accepted.

    Raises:
        ServingError: The address is not local, or cannot be bound.
    """
    listener = _bind(host, port, settings)
    server = _EmbeddedServer(_configure(app, settings))
    server.config.load()
    server.lifespan = server.config.lifespan_class(server.config)
    try:
        await server.startup(sockets=[listener])
        bound: int = listener.getsockname()[1]
        log.info("serving models on http://%s:%d", host, bound)
        task_status.started(bound)
        await server.main_loop()
    finally:
        with anyio.CancelScope(shield=True):
            await server.shutdown(sockets=[listener])


def _bind(host: str, port: int, settings: ServingSettings) -> socket.socket:
    if host not in LOOPBACK and not settings.allow_remote:
        msg = (
            f"opening the local endpoint: host {host!r} found, expected one of {', '.join(LOOPBACK)}, "
            "because the endpoint asks nobody for a password"
        )
        raise ServingError(msg, remedy="use a loopback address, or allow remote requests in a closed network")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family)
    except OSError as error:
        msg = f"opening the local endpoint: {host} port {port} cannot be bound ({error.strerror})"
        raise ServingError(msg) from error
    # Inherited by accepted sockets. asyncio sets it only where the protocol number is given, and without it an
    # answer, which is written in two pieces, waits 40 ms for the client's delayed acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _configure(app: ASGIApp, settings: ServingSettings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=OneWriteProtocol,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        limit_concurrency=settings.max_connections,
        timeout_graceful_shutdown=max(1, round(settings.shutdown_s)),
    )
