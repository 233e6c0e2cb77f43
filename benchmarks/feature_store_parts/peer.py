"""Runs Feast in its own environment."""

import json
import subprocess
from pathlib import Path
from typing import Any, Final

from serving_parts.peer import install_peer

ROOT: Final = Path(__file__).parents[2]
PINS: Final = ("feast[duckdb,redis]==0.67.0", "prometheus-client<0.25")
NAME: Final = "Feast 0.67.0"
CHILD: Final = Path(__file__).parent / "feast_child.py"


def feast(*arguments: str, timeout_s: float = 400.0) -> dict[str, Any]:
    """Run the child, and return what it printed last."""
    environment = install_peer(ROOT / ".cache" / "bench" / "feast", PINS)
    ran = subprocess.run(
        [environment / "bin" / "python", CHILD, *arguments],
        check=True,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        env={"FEAST_USAGE": "False", "PATH": "/usr/bin:/bin", "HOME": arguments[1]},
    )
    found: dict[str, Any] = json.loads(ran.stdout.strip().splitlines()[-1])
    return found
