"""tflite-runtime, which some boards' images have, keeps the claims of LiteRT: in a Python of its own, with numpy 1."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.environments import ROOT, environment

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

REQUIREMENTS = ("tflite-runtime==2.14.0", "numpy<2", "pytest", "pytest-timeout")
FEWEST_TESTS = 30
"""Below this, what was to be tested was not found."""
_WHAT_IT_IS = """
from importlib.util import find_spec
import numpy, tflite_runtime
print(tflite_runtime.__version__, numpy.__version__.split(".")[0], find_spec("ai_edge_litert"))
"""


def _python311() -> str:
    """Return a Python 3.11; a name on PATH may be a shim without a program, so it is asked."""
    if sys.version_info[:2] == (3, 11):
        return sys.executable
    found = shutil.which("python3.11")
    if found and subprocess.run([found, "-c", "import venv"], check=False, capture_output=True).returncode == 0:
        return found
    pytest.skip("tflite-runtime has no wheel for a Python after 3.11, and no python3.11 is here")


@pytest.fixture(scope="module")
def python() -> Path:
    """An environment with tflite-runtime and what the agent itself needs."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = ("--constraint", str(ROOT / "constraints.txt"))
    return environment("tflite-runtime", *pins, *REQUIREMENTS, *project["dependencies"], python=_python311())


def _run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    settings = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    return subprocess.run(command, cwd=ROOT, env=settings, check=False, capture_output=True, text=True)


@pytest.mark.timeout(600)  # the first time, packages travel
def test_it_is_the_runtime_that_is_tested(python: Path) -> None:
    assert _run(python, "-c", _WHAT_IT_IS).stdout.split() == ["2.14.0", "1", "None"]


@pytest.mark.timeout(600)
def test_the_claims_of_litert_hold(python: Path) -> None:
    tests = Path(__file__).with_name("test_litert_engine.py")
    # Without the tests' own surroundings, which need more than a device has.
    options = ("-p", "no:cacheprovider", "--noconftest", "-q")
    ran = _run(python, "-m", "pytest", *options, tests)
    assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr[-2000:]
    passed = re.search(r"(\d+) passed", ran.stdout)
    assert passed
    assert int(passed[1]) >= FEWEST_TESTS
    assert "skipped" not in ran.stdout
