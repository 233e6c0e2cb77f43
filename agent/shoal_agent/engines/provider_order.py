"""Which accelerators a version is tried on, best first."""

from collections.abc import Collection

from shoal_agent.engines.engine import CPU
from shoal_agent.engines.onnx_options import PROVIDER_NAMES
from shoal_agent.settings import EngineSettings


def onnx_accelerators(available: Collection[str], settings: EngineSettings, *, has_gpu: bool) -> tuple[str, ...]:
    """Return the execution providers to try, in order; the CPU is the last one, unless the settings say otherwise.

    Args:
        available: What the installed ONNX Runtime was built with, by its own names.
        settings: Providers that are forced, and those that are left out.
        has_gpu: Whether the board shows a GPU: a build for GPUs runs on boards without one, too.

    Returns:
        `tensorrt`, `cuda` and `cpu`; none of them if the settings leave out all. Forced ones are tried whatever the
        board shows, so that the error tells what is missing.
    """
    if settings.providers:
        wanted = tuple(dict.fromkeys(settings.providers))
    else:
        built = (name for name, its_name in PROVIDER_NAMES.items() if its_name in available)
        wanted = tuple(name for name in built if has_gpu or name == CPU)
    return tuple(name for name in wanted if name not in settings.without_providers)


def litert_accelerators(settings: EngineSettings) -> tuple[str, ...]:
    """Return the delegates to try, in order, and then the CPU with XNNPACK."""
    return (*dict.fromkeys(settings.delegates), CPU)
