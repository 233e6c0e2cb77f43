"""The parent: looks at the hub, keeps the workers going, and has all of them serve what is wanted or what has served.

A worker opens its endpoint once it has something to answer with, at a port that all of them share; so one that ends
takes the requests that it works on, and new connections go to the others.
"""

import json
import os
import signal
import socket
from contextlib import ExitStack
from dataclasses import dataclass
from logging import getLogger
from pathlib import Path
from typing import Final

import anyio
from anyio import to_thread

from shoal_agent.durable import make_folder, replace_file
from shoal_agent.endpoint import EndpointError
from shoal_agent.errors import AgentError
from shoal_agent.standalone.catalogue import Catalogue
from shoal_agent.standalone.child import Child
from shoal_agent.standalone.plan import Said, Wanted, WorkerPlan
from shoal_agent.standalone.shared_socket import SharedSocket
from shoal_agent.standalone.site import ServedSite

_LOOPBACK: Final = "127.0.0.1"
_log = getLogger(__name__)


@dataclass(frozen=True)
class ServerSettings:
    """Bounds of the parent; those of workers are in their plan."""

    workers: int = 1
    look_s: float = 5.0
    """How often the hub is asked what names and aliases stand for."""
    restart_min_s: float = 0.5
    restart_max_s: float = 30.0
    """A worker that ends is started again after so long, twice as long each time that it served for less than that."""


class Server:
    """A served registry.

    Args:
        settings: Bounds.
        plan: Of every worker, but for its number and ports.
        catalogue: What is to be served; its methods are called from one task.
        site: Whose devices may pass requests here.
    """

    def __init__(self, settings: ServerSettings, plan: WorkerPlan, catalogue: Catalogue, site: ServedSite) -> None:
        self._site = site
        self._settings = settings
        self._plan = plan
        self._catalogue = catalogue
        self._children: dict[int, Child] = {}
        self._failed: list[tuple[Child, Said]] = []
        self._news = anyio.Event()
        self._said = Wanted(models={})
        self._noted: dict[str, object] = {}
        self._is_stopping = False
        self._all_serve = anyio.Event()

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT.

        Raises:
            AgentError: Something is not there or does not serve, or a port is taken.
        """
        await to_thread.run_sync(self._catalogue.begin)
        await to_thread.run_sync(self._site.begin)
        with ExitStack() as held:
            self._plan = self._plan.model_copy(update=self._hold_ports(held))
            shared = self._open_socket(held)
            async with anyio.create_task_group() as group:
                try:
                    for number in range(1, self._settings.workers + 1):
                        group.start_soon(self._keep, self._plan.model_copy(update={"number": number}))
                    group.start_soon(self._tend)
                    await self._accept_until_stop(shared)
                finally:
                    self._is_stopping = True
                    if shared is not None:
                        shared.close()  # before the workers are stopped, which still take who has connected
                    with anyio.CancelScope(shield=True):
                        await self._stop_children()
                group.cancel_scope.cancel()

    def _hold_ports(self, held: ExitStack) -> dict[str, int]:
        """Return the ports of all workers; each is held, and not listened at, for as long as the server runs."""
        ports = {"port": _hold(held, _LOOPBACK, self._plan.port)}
        if self._plan.grpc_port is not None:
            ports["grpc_port"] = _hold(held, _LOOPBACK, self._plan.grpc_port)
        if self._plan.remote_host:
            ports["remote_port"] = _hold(held, self._plan.remote_host, self._plan.remote_port)
        if self._plan.handover_host:
            ports["handover_port"] = _hold(held, self._plan.handover_host, self._plan.handover_port)
        return ports

    def _open_socket(self, held: ExitStack) -> SharedSocket | None:
        if self._plan.socket is None:
            return None
        shared = SharedSocket(self._plan.socket, lambda: [one for one in self._children.values() if one.own_port])
        held.callback(shared.close)
        return shared

    async def _accept_until_stop(self, shared: SharedSocket | None) -> None:
        async with anyio.create_task_group() as accepting:
            if shared is not None:
                accepting.start_soon(self._accept, shared)
            await _wait_for_stop()
            accepting.cancel_scope.cancel()

    async def _accept(self, shared: SharedSocket) -> None:
        await self._all_serve.wait()
        await shared.accept()

    async def _keep(self, plan: WorkerPlan) -> None:
        """Start a worker, and again whenever it has ended."""
        settings, pause_s = self._settings, self._settings.restart_min_s
        while True:
            await to_thread.run_sync(make_folder, plan.folder)
            child = self._children[plan.number] = await Child.start(plan)
            child.want(self._wanted())
            started_s = anyio.current_time()
            status = await child.listen(self._hear)
            child.own_port = 0
            if self._is_stopping:
                return
            if not self._catalogue.proven:
                message = f"starting: worker {plan.number} ended with status {status} before it served"
                raise AgentError(message, "see its messages above")
            is_new = anyio.current_time() - started_s < settings.restart_max_s
            _log.error("worker %d ended with status %d; starting it again in %g s", plan.number, status, pause_s)
            self._news.set()
            await anyio.sleep(pause_s)
            pause_s = min(2 * pause_s, settings.restart_max_s) if is_new else settings.restart_min_s

    def _hear(self, child: Child, said: Said) -> None:
        if said.kind == "failed":
            _log.error("worker %d: %s", child.plan.number, said.message)
            self._failed.append((child, said))
        self._news.set()

    async def _tend(self) -> None:
        """Follow the hub and the workers."""
        look_at_s = anyio.current_time() + self._settings.look_s
        while True:
            with anyio.move_on_at(look_at_s):
                await self._news.wait()
            self._news = anyio.Event()
            for child in self._reject_failed():
                await child.stop()  # and `_keep` starts it again
            if anyio.current_time() >= look_at_s:
                await to_thread.run_sync(self._catalogue.look)
                await to_thread.run_sync(self._site.look)
                look_at_s = anyio.current_time() + self._settings.look_s
            self._say()
            await self._prove()

    def _reject_failed(self) -> list[Child]:
        """Want what has served in place of what failed; return the workers in which that itself failed."""
        unfit = []
        for child, said in self._failed:
            wanted = self._catalogue.wanted.get(said.model)
            if wanted is not None and wanted.manifest.sha256 == said.manifest:
                self._catalogue.reject(said.model)
                if self._catalogue.wanted[said.model] == wanted:
                    unfit.append(child)
        self._failed.clear()
        return unfit

    def _wanted(self) -> Wanted:
        siblings = {number: child.own_port for number, child in self._children.items() if child.own_port}
        return Wanted(models=dict(self._catalogue.wanted), siblings=siblings, members=self._site.members)

    def _say(self) -> None:
        """Tell the workers, if anything has changed."""
        wanted = self._wanted()
        if wanted != self._said:
            self._said = wanted
            for child in self._children.values():
                child.want(wanted)

    async def _prove(self) -> None:
        """Note what serves and where, once every worker does."""
        wanted = {name: one.manifest.sha256 for name, one in self._catalogue.wanted.items()}
        children = self._children.values()
        if len(children) < self._settings.workers or any(not one.own_port or one.models != wanted for one in children):
            return
        await to_thread.run_sync(self._catalogue.prove)
        self._all_serve.set()
        note = self._endpoint()
        if note != self._noted:
            await to_thread.run_sync(_write_note, self._plan.data / "run" / "endpoint.json", note)
            _log.info("%d workers serve on %s", self._settings.workers, note["url"])
            self._noted = note

    def _endpoint(self) -> dict[str, object]:
        plan = self._plan
        note: dict[str, object] = {"url": f"http://{_LOOPBACK}:{plan.port}", "pid": os.getpid()}
        if plan.socket is not None:
            note["socket"] = str(plan.socket)
        if plan.grpc_port is not None:
            note["grpc"] = f"{_LOOPBACK}:{plan.grpc_port}"
        if plan.remote_host:
            note["remote"] = f"https://{plan.remote_host}:{plan.remote_port}"
        if plan.handover_host:
            peer = f"{self._site.certificate_sha256}={plan.handover_host}:{plan.handover_port}"
            note["handover"] = peer  # as `shoal sites handover --server` takes it
        return note | {"workers": {number: child.pid for number, child in sorted(self._children.items())}}

    async def _stop_children(self) -> None:
        async with anyio.create_task_group() as group:
            for child in self._children.values():
                group.start_soon(child.stop)


def _hold(held: ExitStack, host: str, port: int) -> int:
    """Hold a port that this user's processes share, without listening at it: no connection comes here."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    holder = held.enter_context(socket.socket(family, socket.SOCK_STREAM))
    try:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind((host, port))
    except OSError as error:
        message = f"opening the endpoint: {host} port {port} cannot be bound ({error.strerror})"
        raise EndpointError(message, "choose a free port and a local address") from error
    return int(holder.getsockname()[1])


def _write_note(path: Path, note: dict[str, object]) -> None:
    try:
        make_folder(path.parent)
        replace_file(path, json.dumps(note).encode(), 0o644)
    except OSError as error:  # it serves all the same
        _log.error("writing %s: %s; free some disk space", path, error)


async def _wait_for_stop() -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for received in signals:
            _log.info("stopping on %s", received.name)
            return
