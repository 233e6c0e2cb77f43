"""The environment of litert-torch: it wants typing-extensions 4.12, which pydantic from 2.12 on refuses.

So it lives in a folder of its own, which `python -m shoal_compression.litert_torch_environment` makes, and is called as
a child process.
"""

import os
import subprocess
import sys
import venv
from pathlib import Path
from typing import Final

from shoal_compression.errors import TechniqueError

VARIABLE: Final = "SHOAL_LITERT_TORCH"
"""Names the environment's folder, where it is not in the usual place."""
PINS: Final = ("litert-torch==0.10.0",)
CPU_WHEELS: Final = "https://download.pytorch.org/whl/cpu"
"""Of PyTorch: those of the Python index bring 5 GB of CUDA with them."""
INSTALL: Final = "python -m shoal_compression.litert_torch_environment"
STAMP: Final = "installed.txt"


def environment_folder() -> Path:
    """Return where the environment is, or would be."""
    given = os.environ.get(VARIABLE)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(given) if given else cache / "shoal" / "litert-torch"


def environment_python() -> Path:
    """Return the environment's interpreter.

    Raises:
        TechniqueError: It is not installed.
    """
    folder = environment_folder()
    python = folder / "bin" / "python"
    if not python.exists():
        found = f"no environment of litert-torch found in {folder}"
        raise TechniqueError(f"converting a PyTorch model to LiteRT: {found}; make it once with `{INSTALL}`")
    return python


def install(folder: Path) -> None:
    """Make the environment, or leave it as it is where it has the same versions; takes minutes and 2 to 7 GB."""
    stamp = folder / STAMP
    if stamp.exists() and stamp.read_text() == "\n".join(PINS):
        return
    venv.create(folder, with_pip=True, clear=True)
    python = str(folder / "bin" / "python")
    pip = [python, "-m", "pip", "install", "--quiet", "--extra-index-url", CPU_WHEELS]
    subprocess.run([*pip, *PINS], check=True, stdout=sys.stderr)
    stamp.write_text("\n".join(PINS))


if __name__ == "__main__":
    install(environment_folder())
