"""`make fuzz`: each target in turn, in an environment of its own. Usage: python -m tests.fuzz SECONDS."""

import os
import subprocess
import sys

from tests.environments import ROOT, environment
from tests.fuzz.targets import TARGETS

FOLDERS = ("contract", "numerics", "agent", "hub", "client", "training", "compression")


def main() -> int:
    """Run the targets in turn; return the first status that is not 0."""
    seconds = sys.argv[1] if len(sys.argv) > 1 else "60"
    python = environment("fuzz", "atheris==3.0.0", "-c", str(ROOT / "constraints.txt"), f"{ROOT}[onnx]", "pytest")
    paths = [str(ROOT), *(str(ROOT / folder) for folder in FOLDERS)]
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    statuses = []
    for name in TARGETS:
        sys.stdout.write(f"fuzzing {name} for {seconds} s\n")
        sys.stdout.flush()
        command = [str(python), "-m", "tests.fuzz.run", name, seconds]
        statuses.append(subprocess.run(command, check=False, cwd=ROOT, env=variables).returncode)
    return next((status for status in statuses if status), 0)


if __name__ == "__main__":
    sys.exit(main())
