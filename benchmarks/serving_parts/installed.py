"""The agent as a device has it: its wheel with ONNX Runtime and uvloop, and none of the libraries of hub and tests."""

import subprocess
import sys
from pathlib import Path

from serving_parts.peer import install_peer

ROOT = Path(__file__).parents[2]


def install_agent(folder: Path) -> Path:
    """Install these sources into an environment of their own, about a minute the first time; return its Python."""
    constraints = ("--constraint", str(ROOT / "constraints.txt"))
    install_peer(folder, (*constraints, f"{ROOT}[onnx,uvloop]"))
    python = folder / "bin" / "python"
    again = ("install", "--quiet", "--no-deps", "--force-reinstall", str(ROOT))  # the sources may have changed since
    subprocess.run([python, "-m", "pip", *again], check=True, stdout=sys.stderr)
    return python
