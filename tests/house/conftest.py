"""The repository as the house tests see it: its root, and every file that git tracks or would track."""

import subprocess
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's root folder."""
    return _ROOT


@pytest.fixture(scope="session")
def files() -> list[Path]:
    """Files of the repository, relative to its root; what git ignores is not among them."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=_ROOT, check=True, capture_output=True, text=True).stdout
    return sorted({Path(name) for name in listed.split("\0") if name and (_ROOT / name).is_file()})


@pytest.fixture(scope="session")
def python_files(files: list[Path]) -> list[Path]:
    """The Python files among them."""
    return [path for path in files if path.suffix == ".py"]
