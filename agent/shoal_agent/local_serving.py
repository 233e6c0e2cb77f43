"""Opens the places at which the device is asked: loopback, a Unix-domain socket, the network."""

import json
import os
import socket
import ssl
from collections.abc import Callable, Coroutine
from functools import partial
from logging import getLogger
from pathlib import Path
from typing import Any, NamedTuple

from anyio.abc import TaskGroup

from shoal_agent.durable import replace_file
from shoal_agent.endpoint import Address, EndpointError, EndpointLimits, Listener, LocalNames, Router
from shoal_agent.endpoint.bodies import BodyBudget
from shoal_agent.endpoint.keys import ApiKeys
from shoal_agent.serving import Inference
from shoal_agent.serving.repository import Repository
from shoal_agent.settings import ServingPlaces

_log = getLogger(__name__)


class Opening(NamedTuple):
    """What is opened.

    Attributes:
        places: Where.
        limits: Bounds of each listener; the memory for bodies is shared.
        data: The agent's folder, which holds the keys of others and takes the note of where the agent serves.
        device_id: For that note.
        keys: The file of the keys of others; None: it lies in the agent's folder.
        is_shared: Whether other processes of this user serve at the same ports.
        handed: Where the process that listens at the Unix-domain socket hands connections over; None: this one listens.
    """

    places: ServingPlaces
    limits: EndpointLimits
    data: Path
    device_id: str
    keys: Path | None = None
    is_shared: bool = False
    handed: socket.socket | None = None


async def open_places(
    group: TaskGroup, opening: Opening, router: Router, inference: Inference, repository: Repository | None = None
) -> str:
    """Serve at all places until the task group is cancelled.

    Args:
        group: The listeners' task group.
        opening: What is opened.
        router: Answers over HTTP; what is for programs on this device alone refuses others by itself.
        inference: Answers over gRPC.
        repository: Loads and unloads over gRPC; None: nobody may.

    Returns:
        The URL on loopback.

    Raises:
        EndpointError: A place cannot be opened.
        DiskError: The file of keys is damaged.
    """
    places, limits, data, device_id, keys_path, is_shared, handed = opening
    budget = BodyBudget(limits.max_bodies_bytes)
    names = LocalNames(places.allowed_hosts, places.allowed_origins)
    local = Address(places.host, places.port, is_shared=is_shared)
    port = await group.start(Listener(router, limits, names.authorize, budget).serve, local)
    endpoint: dict[str, object] = {"url": f"http://{places.host}:{port}", "pid": os.getpid(), "device_id": device_id}
    if places.socket is not None:
        await group.start(Listener(router, limits, budget=budget).serve, Address(path=places.socket, handed=handed))
        endpoint["socket"] = str(places.socket)
    if places.grpc_port is not None:
        serve_grpc = _grpc()
        serve = partial(serve_grpc, repository=repository, is_shared=is_shared)
        grpc_port = await group.start(serve, inference, places.grpc_port, limits.max_body_bytes)
        endpoint["grpc"] = f"127.0.0.1:{grpc_port}"
    if places.remote_host:
        keys = ApiKeys(keys_path or data / "api-keys.json")
        if not keys.read():
            _log.warning("nobody may ask at %s yet; make a key: shoal-agent api-keys create NAME", places.remote_host)
        address = Address(places.remote_host, places.remote_port, tls=_tls(places), is_shared=is_shared)
        remote_port = await group.start(Listener(router, limits, keys.authorize, budget).serve, address)
        endpoint["remote"] = f"https://{places.remote_host}:{remote_port}"
    _note(data / "run" / "endpoint.json", endpoint)
    _log.info("device %s serves on %s", device_id, endpoint["url"])
    return str(endpoint["url"])


def _note(path: Path, endpoint: dict[str, object]) -> None:
    try:
        replace_file(path, json.dumps(endpoint).encode(), 0o644)
    except OSError as error:  # it serves all the same; only this device's command line does not find it
        _log.error("writing %s: %s; free some disk space", path, error)


def _grpc() -> Callable[..., Coroutine[Any, Any, None]]:
    try:
        from shoal_agent.serving.grpc.service import serve_grpc
    except ImportError as error:
        message = f"opening the local gRPC endpoint: {error.name} is not installed"
        raise EndpointError(message, "on the device: pip install 'shoal[grpc]'") from error
    return serve_grpc


def _tls(places: ServingPlaces) -> ssl.SSLContext:
    if places.certificate is None or places.key is None:
        message = f"opening the remote endpoint at {places.remote_host}: it has no certificate or no private key"
        raise EndpointError(message, "give both: --tls-certificate FILE --tls-key FILE")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(places.certificate, places.key)
    except (OSError, ssl.SSLError) as error:
        message = f"opening the remote endpoint: {places.certificate} and {places.key} are no pair: {error}"
        raise EndpointError(message, "give a certificate chain and its private key, both as PEM") from error
    return context
