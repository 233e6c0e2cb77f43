"""A device's environment: the wheel with one runtime, in a fresh virtual environment of the oldest Python."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[2]


def _python310() -> str | None:
    """A Python 3.10 on PATH or among pyenv's; a name on PATH may be a shim without a program, so it is asked."""
    pyenv = sorted((Path.home() / ".pyenv/versions").glob("3.10.*/bin/python"))
    for candidate in [shutil.which("python3.10"), *map(str, pyenv)]:
        if (
            candidate
            and subprocess.run([candidate, "-c", "import venv"], check=False, capture_output=True).returncode == 0
        ):
            return candidate
    return None


PYTHON310 = _python310()
_PYTHON = PYTHON310 or sys.executable
_VERSION = "3.10" if PYTHON310 else f"{sys.version_info.major}.{sys.version_info.minor}-as-3.10-is-missing"


def _without_python_settings() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}


@dataclass(frozen=True)
class Environment:
    """A virtual environment that holds the wheel with its runtimes, and nothing of the repository."""

    folder: Path

    def run(
        self, *command: str | Path, cwd: Path | None = None, python_path: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment in `cwd`, by default in its own folder, away from the sources."""
        program, *arguments = map(str, command)
        settings = _without_python_settings()
        if python_path:
            settings["PYTHONPATH"] = str(python_path)
        return subprocess.run(
            [self.folder / "bin" / program, *arguments],
            cwd=cwd or self.folder,
            env=settings,
            check=False,
            capture_output=True,
            text=True,
        )

    def install(self, *requirements: str) -> None:
        """Install with pip under the project's constraints."""
        pins = ["--constraint", str(_ROOT / "constraints.txt")]
        done = self.run("python", "-m", "pip", "install", "--quiet", *pins, *requirements)
        assert done.returncode == 0, done.stderr

    @property
    def site_packages(self) -> Path:
        """Where the packages lie."""
        return next(self.folder.glob("lib/python3*/site-packages"))


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The distribution, built from these sources as a user's pip builds it."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(_ROOT)]
    subprocess.run(command, check=True, env=_without_python_settings())
    return next(folder.glob("shoal-*.whl"))


def _environment(folder: Path, wheel: Path, extras: str, python: str = _PYTHON) -> Environment:
    # Another Python must not be led to this one's library, which other tests of the session may have put in the way.
    subprocess.run([python, "-m", "venv", folder], check=True, env=_without_python_settings())
    environment = Environment(folder)
    environment.install(f"{wheel}[{extras}]")
    return environment


@pytest.fixture(scope="session", params=["onnx", "litert"], ids=lambda runtime: f"python{_VERSION}-{runtime}")
def runtime(request: pytest.FixtureRequest) -> str:
    """The extra of the device's runtime."""
    name: str = request.param
    return name


@pytest.fixture(scope="session")
def device(runtime: str, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The wheel with one runtime on Python 3.10, or on this Python where 3.10 is missing, as the test's id tells."""
    return _environment(tmp_path_factory.mktemp(runtime) / "environment", wheel, runtime)


@pytest.fixture(scope="session")
def device_of_today(runtime: str, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The wheel with one runtime on this Python, 3.11 or newer, as on Raspberry Pi OS and Debian."""
    return _environment(tmp_path_factory.mktemp(f"today-{runtime}") / "environment", wheel, runtime, sys.executable)


@pytest.fixture(scope="session", params=[f"python{_VERSION}"])
def device_with_both(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The same with both runtimes, as the agent's tests compare them."""
    return _environment(tmp_path_factory.mktemp("both") / "environment", wheel, "onnx,litert")
