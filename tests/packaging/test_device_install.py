"""What a device gets: the agent on Python 3.10 with one runtime, small, and with nothing of the hub."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.packaging.conftest import PYTHON310, Environment

_ROOT = Path(__file__).resolve().parents[2]

# Without the byte code that Python makes of it, which adds 20 to 55 MB. ONNX Runtime's last release for Python 3.10
# asks for sympy and mpmath, 33 MB that no device imports: docs/adr/0006.
_GOAL_MB = 160
_MOST_ONNX_ON_310_MB = 185
# Below this, what was to be tested was not found.
_FEWEST_TESTS = 400
_TOOLS = (
    "pytest",
    "pytest-timeout",
    "pytest-xdist",
    "hypothesis",
    "httpx",
    "onnx",
    "fastavro",
    "pillow",
    "prometheus-client",
    "pyarrow",
)
_NOT_THERE = re.compile(r"tests\.simulators|tests\.environments|shoal_hub")
_INSTALLERS = ("pip", "setuptools", "pkg_resources", "_distutils_hack", "distutils-precedence")

_HUB_LIBRARIES = [
    "alembic",
    "fastapi",
    "flwr",
    "httpx",
    "keras",
    "onnx",
    "prometheus_client",
    "psycopg",
    "scipy",
    "sklearn",
    "sqlalchemy",
    "sqlmodel",
    "tensorflow",
    "tf_keras",
    "torch",
]

# Building environments takes the time that the network takes.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def _size_mb(site_packages: Path) -> float:
    """Space that the packages take on disk without installers and byte code, as `du` counts it, in megabytes."""
    excluded = [f"--exclude={name}*" for name in (*_INSTALLERS, "__pycache__")]
    counted = subprocess.run(["du", "-sk", *excluded, site_packages], check=True, capture_output=True, text=True)
    return int(counted.stdout.split()[0]) * 1024 / 1e6


def test_python_310_is_here_where_ci_demands_it() -> None:
    assert PYTHON310 or not os.environ.get("SHOAL_REQUIRE_PY310"), (
        "SHOAL_REQUIRE_PY310 is set, but no Python 3.10 found"
    )


def test_the_wheel_holds_the_seven_packages_and_nothing_else(wheel: Path, tmp_path: Path) -> None:
    shutil.unpack_archive(wheel, tmp_path, "zip")
    packages = {path.name for path in tmp_path.iterdir() if not path.name.endswith(".dist-info")}
    names = ["agent", "client", "compression", "contract", "hub", "numerics", "training"]
    assert packages == {f"shoal_{name}" for name in names}


def test_the_agent_starts(device: Environment) -> None:
    imported = device.run("python", "-c", "import shoal_contract, shoal_numerics, shoal_agent.cli")
    assert imported.returncode == 0, imported.stderr
    helped = device.run("shoal-agent", "--help")
    assert helped.returncode == 0, helped.stderr
    assert "enrol" in helped.stdout


def test_no_library_of_the_hub_is_present(device: Environment) -> None:
    script = f"import importlib.util as u; print([n for n in {_HUB_LIBRARIES} if u.find_spec(n)])"
    assert device.run("python", "-c", script).stdout.strip() == "[]"


def test_the_hub_says_in_one_line_what_it_lacks_on_a_device(device: Environment) -> None:
    refused = device.run("shoal", "--help")
    assert refused.returncode != 0
    assert ("needs Python 3.11" if PYTHON310 else "shoal[hub]") in refused.stderr.strip().splitlines()[-1]


def test_the_hub_names_its_extra_where_its_libraries_are_missing() -> None:
    script = f"import sys; sys.path.insert(0, {str(_ROOT / 'hub')!r}); import shoal_hub"
    refused = subprocess.run([sys.executable, "-I", "-S", "-c", script], check=False, capture_output=True, text=True)
    assert "pip install 'shoal[hub]'" in refused.stderr.strip().splitlines()[-1]


def test_the_install_takes_at_most_160_mb(device: Environment, runtime: str) -> None:
    is_with_sympy = runtime == "onnx" and PYTHON310 is not None
    assert _size_mb(device.site_packages) <= (_MOST_ONNX_ON_310_MB if is_with_sympy else _GOAL_MB)


def test_the_install_takes_at_most_160_mb_on_this_python(device_of_today: Environment) -> None:
    assert _size_mb(device_of_today.site_packages) <= _GOAL_MB


def test_the_tests_of_contract_numerics_and_agent_pass_there(device_with_both: Environment, tmp_path: Path) -> None:
    # The tests' tools lie beside the environment, so that they add nothing to what a device has.
    device_with_both.install("--target", str(tmp_path), *_TOOLS)
    folders = [_ROOT / "tests" / name for name in ("contract", "numerics", "agent")]
    # What needs the hub's code, as a real broker does, cannot run here. What makes an environment of its own says
    # nothing of this one.
    skipped = [path for folder in folders for path in folder.rglob("*.py") if _NOT_THERE.search(path.read_text())]
    # Not the sources' folders, which pyproject.toml would put first: the wheel is what is tested.
    options = ["-o", "pythonpath=.", "-p", "no:cacheprovider", "-q", "-n", "2", "-m", "not slow and not postgres"]
    ignored = [f"--ignore={path}" for path in skipped]
    tested = device_with_both.run(
        "python", "-m", "pytest", *options, *ignored, *map(str, folders), cwd=_ROOT, python_path=tmp_path
    )
    assert tested.returncode == 0, tested.stdout[-4000:] + tested.stderr[-2000:]
    passed = re.search(r"(\d+) passed", tested.stdout)
    assert passed
    assert int(passed[1]) >= _FEWEST_TESTS
