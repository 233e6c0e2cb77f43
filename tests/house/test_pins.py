"""One constraints file pins all that the project installs, and the tests run with exactly those versions."""

from importlib.metadata import distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# Parts of setuptools and of Ray, which put them on the path as they are imported.
_CARRIED = ("_vendor", "thirdparty_files")
# They make or hold the environment; nothing imports them.
_UNPINNED = {"pip", "setuptools", "shoal"}


@pytest.fixture(scope="module")
def pins(root: Path) -> dict[str, list[Requirement]]:
    lines = (root / "constraints.txt").read_text().splitlines()
    pinned: dict[str, list[Requirement]] = {}
    for line in lines:
        if line and not line.startswith("#"):
            requirement = Requirement(line)
            pinned.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    return pinned


def test_what_is_installed_here_is_what_the_constraints_pin(pins: dict[str, list[Requirement]]) -> None:
    wrong = []
    for found in distributions():
        if any(folder in str(found.locate_file("")) for folder in _CARRIED):
            continue
        name = canonicalize_name(found.metadata["Name"])
        here = [pin for pin in pins.get(name, []) if pin.marker is None or pin.marker.evaluate()]
        if name not in _UNPINNED and not any(pin.specifier.contains(found.version) for pin in here):
            wrong.append(f"{name} {found.version}: expected {[str(pin) for pin in here] or 'a pin'}")
    assert wrong == []


def test_no_package_is_pinned_twice_for_one_python(pins: dict[str, list[Requirement]]) -> None:
    for version in ("3.10", "3.11", "3.12", "3.13"):
        environment = {"python_version": version, "python_full_version": f"{version}.0"}
        for name, requirements in pins.items():
            holding = [pin for pin in requirements if pin.marker is None or pin.marker.evaluate(environment)]
            assert len(holding) <= 1, f"{name} has {len(holding)} pins for Python {version}"


def test_every_declared_dependency_is_pinned(root: Path, pins: dict[str, list[Requirement]]) -> None:
    import tomllib

    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    declared = [
        *project["dependencies"],
        *(item for extra in project["optional-dependencies"].values() for item in extra),
    ]
    names = {canonicalize_name(Requirement(item).name) for item in declared} - {"shoal"}
    assert names - pins.keys() == set()
