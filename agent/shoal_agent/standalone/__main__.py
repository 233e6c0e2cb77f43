"""`python -m shoal_agent.standalone`: what `shoal serve` starts, with the hub's address and an operator's token."""

import logging
import os
import ssl
import sys
from importlib.util import find_spec
from pathlib import Path

import anyio
import click

from shoal_agent.blobs import BlobStore
from shoal_agent.cli_options import LARGEST_PORT, READABLE_FILE, readable
from shoal_agent.durable import make_folder
from shoal_agent.errors import AgentError, cause_of
from shoal_agent.folder_lock import only_one
from shoal_agent.hardware import available_runtimes, detect, targets_for
from shoal_agent.standalone.catalogue import Catalogue
from shoal_agent.standalone.plan import WorkerPlan
from shoal_agent.standalone.refs import parse_refs
from shoal_agent.standalone.registry import HubRegistry
from shoal_agent.standalone.server import Server, ServerSettings
from shoal_agent.standalone.site import ServedSite

_PORT = click.IntRange(0, LARGEST_PORT)


@click.command(
    context_settings={"max_content_width": 120},
    epilog="Example: SHOAL_TOKEN=… python -m shoal_agent.standalone --hub https://hub:8443 --model iris@production",
)
@click.option("--hub", required=True, help="The hub's address.")
@click.option("--ca", type=READABLE_FILE, help="The hub's CA as PEM; default: what this system trusts.")
@click.option("--model", "models", multiple=True, required=True, metavar="MODEL[@VERSION]", help="What to serve.")
@click.option("--target", default="", help="Serve variants for this target; default: the best for this machine.")
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Folder of files and keys.")
@click.option("--port", type=_PORT, default=8090, help="Port on loopback; 0 takes a free one.")
@click.option("--socket", type=click.Path(path_type=Path), help="Path of a Unix-domain socket that speaks the same.")
@click.option("--grpc-port", type=_PORT, help="Speak gRPC, too, on this local port; 0 takes a free one.")
@click.option("--remote-host", default="", help="Address for other machines, by TLS and a key; default: none.")
@click.option("--remote-port", type=_PORT, default=8444, help="Port of that address.")
@click.option("--tls-certificate", type=READABLE_FILE, help="PEM file of the certificate chain that others see.")
@click.option("--tls-key", type=READABLE_FILE, help="PEM file of its private key.")
@click.option("--site", default="", help="Take requests of this site's devices; default: of none.")
@click.option("--handover-host", default="", help="Address at which they ask.")
@click.option("--handover-port", type=_PORT, default=8473, help="Port of that address.")
@click.option("--workers", type=click.IntRange(1, 256), default=1, help="Processes that serve.")
@click.option("--threads", type=click.IntRange(1, 64), default=2, help="Requests of one worker at a time.")
@click.option("--request-timeout-s", type=click.FloatRange(0, min_open=True), default=60.0, help="Then it gets 504.")
@click.option("--prediction-cache-mb", type=click.IntRange(0), default=0, help="Kept answers of a worker, in MB.")
@click.option("--prediction-cache-ttl-s", type=click.FloatRange(0, min_open=True), default=3600.0, help="Their life.")
@click.option("--look-s", type=click.FloatRange(0.1), default=5.0, help="How often the hub is asked for changes.")
@readable
def main(
    *,
    hub: str,
    ca: Path | None,
    models: tuple[str, ...],
    target: str,
    data: Path,
    port: int,
    socket: Path | None,
    grpc_port: int | None,
    remote_host: str,
    remote_port: int,
    tls_certificate: Path | None,
    tls_key: Path | None,
    site: str,
    handover_host: str,
    handover_port: int,
    workers: int,
    threads: int,
    request_timeout_s: float,
    prediction_cache_mb: int,
    prediction_cache_ttl_s: float,
    look_s: float,
) -> None:
    """Serve versions of a hub's registry.

    The operator's token is read from SHOAL_TOKEN, the address of a Redis for answers from SHOAL_SERVE_CACHE_REDIS.
    """
    level = os.environ.get("SHOAL_LOG_LEVEL", "INFO").upper()
    logging.basicConfig(level=level, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    make_folder(data, 0o700)
    plan = WorkerPlan(
        number=0,
        data=data.resolve(),
        port=port,
        threads=threads,
        engine_threads=max(1, _cores() // workers),
        request_timeout_s=request_timeout_s,
        cache_mb=prediction_cache_mb,
        cache_ttl_s=prediction_cache_ttl_s,
        socket=socket and socket.resolve(),
        grpc_port=grpc_port,
        remote_host=remote_host,
        remote_port=remote_port,
        certificate=tls_certificate and tls_certificate.resolve(),
        key=tls_key and tls_key.resolve(),
        handover_host=_handover_host(site, handover_host),
        handover_port=handover_port,
        redis_url=os.environ.pop("SHOAL_SERVE_CACHE_REDIS", ""),
    )
    if plan.redis_url and plan.cache_mb:
        message = "keeping answers: both a Redis and memory of the workers found, expected one of the two"
        raise AgentError(message, "give --cache-redis or --prediction-cache-mb")
    registry = HubRegistry(hub, os.environ.pop("SHOAL_TOKEN", ""), _trust(ca))
    catalogue = _catalogue(registry, plan.data, models, target)
    served_site = ServedSite(site, registry, plan.handover_folder)
    _run(Server(ServerSettings(workers=workers, look_s=look_s), plan, catalogue, served_site), plan.data)


def _catalogue(registry: HubRegistry, data: Path, models: tuple[str, ...], target: str) -> Catalogue:
    runtimes = available_runtimes()
    return Catalogue(
        refs=parse_refs(models),
        registry=registry,
        blobs=BlobStore(data / "blobs"),
        targets=targets_for(detect(), runtimes),
        runtimes=runtimes,
        note=data / "serving.json",
        target=target,
    )


def _handover_host(site: str, host: str) -> str:
    if bool(site) != bool(host):
        message = f"taking requests of devices: site {site or 'none'} and address {host or 'none'} found, expected both"
        raise AgentError(message, "give --site NAME and --handover-host ADDRESS, or neither")
    return host


def _run(server: Server, data: Path) -> None:
    with only_one(data):
        try:
            anyio.run(server.run, backend_options={"use_uvloop": find_spec("uvloop") is not None})
        except Exception as error:
            cause = cause_of(error)
            if isinstance(cause, AgentError):
                raise cause from error
            raise


def _cores() -> int:
    """Return how many cores this process may use: `taskset` or a container can leave it fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _trust(ca: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=str(ca) if ca else None)
    except (OSError, ssl.SSLError) as error:
        raise AgentError(f"reading the hub's CA {ca}: {error}", "give its certificate as PEM") from error


if __name__ == "__main__":
    main()
