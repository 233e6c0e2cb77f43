"""Sends the stock tritonclient, in an environment of its own, to a server."""

import json
import subprocess
from pathlib import Path
from typing import Any

import anyio
from tests.environments import environment

REQUIREMENTS = ("tritonclient[grpc,http]==2.73.0", "numpy<3")
SCRIPT = Path(__file__).with_name("triton_client.py")
GRPC_SCRIPT = Path(__file__).with_name("triton_grpc_client.py")


async def visit(address: str, script: Path = SCRIPT) -> dict[str, Any]:
    """Return what a script of the client found at `HOST:PORT`, which serves `tiny` and an echo for each datatype."""
    python = environment("tritonclient", *REQUIREMENTS)
    ran = await anyio.run_process([str(python), str(script), address], check=False, stderr=subprocess.PIPE)
    assert ran.returncode == 0, ran.stderr.decode()
    answer: dict[str, Any] = json.loads(ran.stdout)
    return answer
