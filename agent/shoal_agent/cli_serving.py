"""Options of `shoal-agent run` about where the device is asked, and how much at a time."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from shoal_agent.cli_options import LARGEST_PORT, READABLE_FILE, ModelNumber

if TYPE_CHECKING:
    from shoal_agent.settings import ServingPlaces, ServingSettings

_MOST_AT_ONCE = 64
_OPTIONS = (
    click.option(
        "--at-once",
        "most_at_once",
        type=ModelNumber(1, _MOST_AT_ONCE),
        multiple=True,
        envvar="SHOAL_AGENT_AT_ONCE",
        show_envvar=True,
        help="Runs of a model at a time, MODEL=N, so that a slow one leaves workers to others; default: all"
        " workers. May be given several times.",
    ),
    click.option(
        "--allow-host",
        multiple=True,
        metavar="NAME",
        envvar="SHOAL_AGENT_ALLOW_HOST",
        show_envvar=True,
        help="A further name by which programs on the device may ask, beside localhost; more than one may be given.",
    ),
    click.option(
        "--allow-origin",
        multiple=True,
        metavar="ORIGIN",
        envvar="SHOAL_AGENT_ALLOW_ORIGIN",
        show_envvar=True,
        help="A web page that may ask on the device, such as https://panel.example; more than one may be given.",
    ),
    click.option(
        "--socket",
        type=click.Path(path_type=Path),
        envvar="SHOAL_AGENT_SOCKET",
        show_envvar=True,
        help="Path of a Unix-domain socket that speaks the same.",
    ),
    click.option(
        "--grpc-port",
        type=click.IntRange(0, LARGEST_PORT),
        envvar="SHOAL_AGENT_GRPC_PORT",
        show_envvar=True,
        help="Speak gRPC, too, on this local port; 0 takes a free one. Needs the extra grpc.",
    ),
    click.option(
        "--remote-host",
        default="",
        envvar="SHOAL_AGENT_REMOTE_HOST",
        show_envvar=True,
        help="Address at which other machines may ask, over TLS and with a key (shoal-agent api-keys); default: none.",
    ),
    click.option(
        "--remote-port",
        type=click.IntRange(0, LARGEST_PORT),
        default=8443,
        show_default=True,
        envvar="SHOAL_AGENT_REMOTE_PORT",
        show_envvar=True,
        help="Port of that address.",
    ),
    click.option(
        "--tls-certificate",
        type=READABLE_FILE,
        envvar="SHOAL_AGENT_TLS_CERTIFICATE",
        show_envvar=True,
        help="PEM file of the certificate chain that other machines see.",
    ),
    click.option(
        "--tls-key",
        type=READABLE_FILE,
        envvar="SHOAL_AGENT_TLS_KEY",
        show_envvar=True,
        help="PEM file of its private key.",
    ),
    click.option(
        "--workers",
        type=click.IntRange(1, 64),
        default=2,
        show_default=True,
        envvar="SHOAL_AGENT_WORKERS",
        show_envvar=True,
        help="Requests that are answered at a time, beside those of quick models.",
    ),
    click.option(
        "--request-timeout-s",
        type=click.FloatRange(0, min_open=True),
        default=60.0,
        show_default=True,
        envvar="SHOAL_AGENT_REQUEST_TIMEOUT_S",
        show_envvar=True,
        help="A request that has not been answered by then, in seconds, gets 504.",
    ),
    click.option(
        "--prediction-cache-mb",
        type=click.IntRange(0),
        default=0,
        show_default=True,
        envvar="SHOAL_AGENT_PREDICTION_CACHE_MB",
        show_envvar=True,
        help="What answers that are kept for inputs that come again may take, in MB; 0: none is kept.",
    ),
    click.option(
        "--prediction-cache-ttl-s",
        type=click.FloatRange(0, min_open=True),
        default=3600.0,
        show_default=True,
        envvar="SHOAL_AGENT_PREDICTION_CACHE_TTL_S",
        show_envvar=True,
        help="How long a kept answer is good for, in seconds.",
    ),
)

handover_host_option = click.option(
    "--handover-host",
    default="",
    envvar="SHOAL_AGENT_HANDOVER_HOST",
    show_envvar=True,
    help="This device's address on its LAN, to take requests of its site's devices at if the hub has them passed on.",
)
handover_port_option = click.option(
    "--handover-port",
    type=click.IntRange(1, LARGEST_PORT),
    default=8472,
    show_default=True,
    envvar="SHOAL_AGENT_HANDOVER_PORT",
    show_envvar=True,
    help="Port of that address.",
)


def serving_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options to a command, which passes them on to `serving_places` and `serving_settings`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def serving_places(port: int, options: dict[str, Any]) -> "ServingPlaces":
    """Return where the device is asked."""
    from shoal_agent.settings import ServingPlaces

    return ServingPlaces(
        port=port,
        allowed_hosts=options["allow_host"],
        allowed_origins=options["allow_origin"],
        socket=options["socket"],
        grpc_port=options["grpc_port"],
        remote_host=options["remote_host"],
        remote_port=options["remote_port"],
        certificate=options["tls_certificate"],
        key=options["tls_key"],
    )


def serving_settings(options: dict[str, Any]) -> "ServingSettings":
    """Return how much it is asked at a time, and what is kept."""
    from shoal_agent.settings import MEGABYTE, ServingSettings

    return ServingSettings(
        workers=options["workers"],
        timeout_s=options["request_timeout_s"],
        cache_bytes=options["prediction_cache_mb"] * MEGABYTE,
        cache_ttl_s=options["prediction_cache_ttl_s"],
        priorities=options["priorities"],
        most_at_once=options["most_at_once"],
    )
