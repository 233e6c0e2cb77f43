"""`shoal serve`: the agent's own server beside the hub, for any version of its registry.

The server is the agent's (`python -m shoal_agent.standalone`), of which nothing is imported here: this process becomes
it. docs/adr/0028 has the reasons.
"""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from shoal_client.profile import read_profile

_PROGRAM = "shoal_agent.standalone"
_LARGEST_PORT = 65_535


def serve(
    model: Annotated[
        list[str],
        typer.Option(
            metavar="MODEL[@VERSION]",
            help="What to serve, by number, latest, stage or alias, each followed as it moves; may be repeated.",
        ),
    ],
    data: Annotated[
        Path | None,
        typer.Option(
            envvar="SHOAL_SERVE_DATA",
            help="Folder of its files and of the keys of who may ask.",
            show_default="~/.local/share/shoal-serve",
        ),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, max=256, help="Processes that serve, at the same port.")] = 1,
    threads: Annotated[int, typer.Option(min=1, max=64, help="Requests that a worker answers at a time.")] = 2,
    port: Annotated[int, typer.Option(min=0, max=_LARGEST_PORT, help="Port on loopback; 0 takes a free one.")] = 8090,
    socket: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Path of a Unix-domain socket that speaks the same.")
    ] = None,
    grpc_port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=_LARGEST_PORT,
            help="Speak gRPC, too, on this local port; 0 takes a free one. Needs the extra grpc.",
        ),
    ] = None,
    target: Annotated[str, typer.Option(help="Serve variants for this target; default: the best here.")] = "",
    remote_host: Annotated[
        str, typer.Option(help="Address at which other machines may ask, over TLS and with a key; default: none.")
    ] = "",
    remote_port: Annotated[int, typer.Option(min=0, max=_LARGEST_PORT, help="Port of that address.")] = 8444,
    tls_certificate: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="PEM file of the chain that others see.")
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="PEM file of its private key.")
    ] = None,
    site: Annotated[str, typer.Option(help="Take requests that this site's devices pass on; default: of none.")] = "",
    handover_host: Annotated[str, typer.Option(help="Address at which those devices ask.")] = "",
    handover_port: Annotated[int, typer.Option(min=0, max=_LARGEST_PORT, help="Port of that address.")] = 8473,
    request_timeout_s: Annotated[
        float, typer.Option(min=0.001, help="A request that has not been answered by then, in seconds, gets 504.")
    ] = 60.0,
    prediction_cache_mb: Annotated[
        int, typer.Option(min=0, help="What each worker keeps of answers, in MB; 0: none is kept.")
    ] = 0,
    prediction_cache_ttl_s: Annotated[
        float, typer.Option(min=0.001, help="How long a kept answer is good for, in seconds.")
    ] = 3600.0,
    cache_redis: Annotated[
        str,
        typer.Option(
            envvar="SHOAL_SERVE_CACHE_REDIS",
            metavar="URL",
            help="Keep answers of all workers in this Redis instead, redis://, rediss:// or unix://.",
        ),
    ] = "",
    look_s: Annotated[float, typer.Option(min=0.1, help="How often the hub is asked for changes, in seconds.")] = 5.0,
) -> None:
    """Serve versions of the registry by the Open Inference Protocol v2, as devices do, until Ctrl-C.

    The hub is the one of your profile; a viewer's token is enough. docs/guides/serve.md has more.
    """
    profile = read_profile()
    given = {
        "hub": profile.url,
        "ca": profile.ca_path,
        "data": data or Path.home() / ".local/share/shoal-serve",
        "workers": workers,
        "threads": threads,
        "port": port,
        "socket": socket,
        "grpc-port": grpc_port,
        "target": target,
        "remote-host": remote_host,
        "remote-port": remote_port,
        "tls-certificate": tls_certificate,
        "tls-key": tls_key,
        "site": site,
        "handover-host": handover_host,
        "handover-port": handover_port,
        "request-timeout-s": request_timeout_s,
        "prediction-cache-mb": prediction_cache_mb,
        "prediction-cache-ttl-s": prediction_cache_ttl_s,
        "look-s": look_s,
    }
    options = [f"--{name}={value}" for name, value in given.items() if value not in {None, ""}]
    options += [f"--model={one}" for one in model]
    secrets = {"SHOAL_TOKEN": profile.token.get_secret_value(), "SHOAL_SERVE_CACHE_REDIS": cache_redis}
    os.execve(sys.executable, [sys.executable, "-m", _PROGRAM, *options], os.environ | secrets)  # noqa: S606 - no shell
