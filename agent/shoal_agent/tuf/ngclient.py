"""python-tuf's client without the fetcher of its own, which the agent does not use: urllib3 for it takes over 1 MB."""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

_OWN = "tuf.ngclient.urllib3_fetcher"


def Urllib3Fetcher(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401, N802 - as python-tuf has it
    """Return python-tuf's own fetcher, for others in this process who ask `tuf.ngclient` for it."""
    return import_module(_OWN).Urllib3Fetcher(*arguments, **options)


if "tuf.ngclient" not in sys.modules:
    stand_in = ModuleType(_OWN)
    stand_in.__dict__["Urllib3Fetcher"] = Urllib3Fetcher
    sys.modules[_OWN] = stand_in
try:
    from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig
finally:
    if isinstance(found := sys.modules.get(_OWN), ModuleType) and found.__spec__ is None:
        del sys.modules[_OWN]

__all__ = ["FetcherInterface", "Updater", "UpdaterConfig"]
