"""Virtual environments of their own for what cannot live beside the project's: peers, clients, older runtimes."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def environment(name: str, *requirements: str, python: str = sys.executable) -> Path:
    """Make an environment once, and again when what it needs has changed.

    Args:
        name: Of its folder under `.cache/environments`.
        requirements: What pip installs into it.
        python: The interpreter that it is made with.

    Returns:
        Its Python.
    """
    folder = ROOT / ".cache" / "environments" / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    stamp, wanted = folder / "wanted.json", json.dumps([python, *requirements])
    with folder.with_suffix(".lock").open("w") as lock:  # tests run in several processes
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_text() != wanted:
            shutil.rmtree(folder, ignore_errors=True)
            # What this process lets its children import is not there for the environment: pip must not count on it.
            alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
            subprocess.run([python, "-m", "venv", folder], check=True, env=alone)
            pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            subprocess.run([*pip, *requirements], check=True, env=alone)
            stamp.write_text(wanted)
    return folder / "bin" / "python"
