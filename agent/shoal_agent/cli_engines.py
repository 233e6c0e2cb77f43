"""Options of `shoal-agent run` about what runtimes may use of the device."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import click

if TYPE_CHECKING:
    from shoal_agent.settings import EngineSettings, Provider

_PROVIDERS = click.Choice(("tensorrt", "cuda", "cpu"))
_OPTIONS = (
    click.option(
        "--provider",
        "providers",
        type=_PROVIDERS,
        multiple=True,
        envvar="SHOAL_AGENT_PROVIDER",
        show_envvar=True,
        help="Use this execution provider of ONNX Runtime and no other; may be given several times, best first. "
        "Default: tensorrt and cuda where there is a GPU, then cpu.",
    ),
    click.option(
        "--without-provider",
        "without_providers",
        type=_PROVIDERS,
        multiple=True,
        envvar="SHOAL_AGENT_WITHOUT_PROVIDER",
        show_envvar=True,
        help="Never use this execution provider; may be given several times.",
    ),
    click.option(
        "--delegate",
        "delegates",
        multiple=True,
        envvar="SHOAL_AGENT_DELEGATE",
        show_envvar=True,
        help="Library of a LiteRT delegate to use where it works, such as libedgetpu.so.1; may be given several times.",
    ),
    click.option(
        "--gpu-memory-mb",
        type=click.IntRange(0),
        default=0,
        show_default=True,
        envvar="SHOAL_AGENT_GPU_MEMORY_MB",
        show_envvar=True,
        help="What a model may take of the GPU's memory, in MB; 0: a third of the board's memory.",
    ),
    click.option(
        "--most-threads",
        type=click.IntRange(0),
        default=0,
        show_default=True,
        envvar="SHOAL_AGENT_MOST_THREADS",
        show_envvar=True,
        help="Threads of one run, at most; 0: as many as there are cores.",
    ),
    click.option(
        "--warmup-s",
        type=click.FloatRange(0),
        default=1.0,
        show_default=True,
        envvar="SHOAL_AGENT_WARMUP_S",
        show_envvar=True,
        help="How long threads and memory are measured when a version is new, in seconds; 0: one thread, unmeasured.",
    ),
)


def engine_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options to a command, which passes them on to `engine_settings`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def engine_settings(options: dict[str, Any]) -> "EngineSettings":
    """Return the settings that the options stand for."""
    from shoal_agent.settings import MEGABYTE, EngineSettings

    return EngineSettings(
        providers=cast("tuple[Provider, ...]", options["providers"]),
        without_providers=cast("tuple[Provider, ...]", options["without_providers"]),
        delegates=options["delegates"],
        gpu_memory_bytes=options["gpu_memory_mb"] * MEGABYTE,
        most_threads=options["most_threads"],
        warmup_s=options["warmup_s"],
    )
