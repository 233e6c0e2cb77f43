"""Containers: the compose file holds together, and the Dockerfiles' steps are those of the tested set-up."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Literal

import pytest
import yaml
from pydantic import BaseModel, ConfigDict, Field

from shoal_hub.settings import Settings

# What the agent's command line reads from the environment.
_AGENT_VARIABLES = {"SHOAL_HUB", "SHOAL_TOKEN", "SHOAL_AGENT_DATA"}
# What a server beside the hub reads, and the command line by which it logs in.
_SERVE_VARIABLES = {"SHOAL_OPERATOR_TOKEN", "SHOAL_PROFILE", "SHOAL_SERVE_DATA", "SHOAL_SERVE_CACHE_REDIS"}
_DOCKERFILES = ["Dockerfile.hub", "Dockerfile.agent"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Build(_Part):
    """Where an image is built from."""

    context: str
    dockerfile: str


class Condition(_Part):
    """What has to hold of a service before another starts."""

    condition: Literal["service_started", "service_healthy", "service_completed_successfully"]


class Health(_Part):
    """How a service is asked whether it works."""

    test: list[str] = Field(min_length=2)
    interval: str = Field(pattern=r"^\d+s$")
    timeout: str = Field(pattern=r"^\d+s$")
    retries: int = Field(gt=0)


class Attached(_Part):
    """A service's names in a network."""

    aliases: list[str]


class Service(_Part):
    """The part of compose's specification of a service that the project uses."""

    image: str | None = None
    profiles: list[str] = []
    hostname: str | None = None
    build: Build | None = None
    command: list[str] | None = None
    environment: dict[str, str] = {}
    ports: list[str] = []
    networks: dict[str, Attached] = {}
    network_mode: str | None = None
    volumes: list[str] = []
    depends_on: dict[str, Condition] = {}
    healthcheck: Health | None = None
    restart: Literal["no", "always", "on-failure", "unless-stopped"] = "no"


class Compose(BaseModel):
    """A compose file; keys that begin with x- are its own business."""

    name: str
    services: dict[str, Service]
    volumes: dict[str, None]


@pytest.fixture(scope="module")
def compose(root: Path) -> Compose:
    return Compose.model_validate(yaml.safe_load((root / "docker-compose.yaml").read_text()))


def _setup_extras(root: Path) -> set[str]:
    found = re.search(r"^readonly EXTRAS='([^']+)'", (root / "scripts/setup").read_text(), re.MULTILINE)
    assert found
    return set(found[1].split(","))


def test_compose_starts_hub_broker_database_two_agents_and_a_server_where_asked_for(
    compose: Compose,
) -> None:
    started = {name for name, service in compose.services.items() if not service.profiles}
    assert started == {"hub", "broker", "postgres", "agent-1", "agent-2"}
    assert compose.services.keys() - started == {"serve"}


def test_every_service_has_an_image_or_a_dockerfile_that_exists(root: Path, compose: Compose) -> None:
    for name, service in compose.services.items():
        assert service.image or service.build, name
        assert service.build is None or (root / service.build.context / service.build.dockerfile).is_file(), name


def test_services_wait_for_services_that_exist_and_can_tell_their_health(compose: Compose) -> None:
    for service in compose.services.values():
        for name, wanted in service.depends_on.items():
            assert wanted.condition != "service_healthy" or compose.services[name].healthcheck
        if service.network_mode:
            assert service.network_mode.removeprefix("service:") in compose.services
            assert not service.networks, "a service in another's network has none of its own"


def test_every_volume_is_declared_and_used(compose: Compose) -> None:
    used = {volume.split(":")[0] for service in compose.services.values() for volume in service.volumes}
    assert used == set(compose.volumes)


def test_every_variable_of_hub_and_agents_is_one_that_they_read(compose: Compose) -> None:
    known = {"hub": set(Settings.environment().values()), "agent-1": _AGENT_VARIABLES, "agent-2": _AGENT_VARIABLES}
    known["serve"] = _SERVE_VARIABLES
    for name, variables in known.items():
        assert set(compose.services[name].environment) <= variables


def test_no_password_has_a_default(root: Path) -> None:
    passwords = re.findall(r"\$\{(\w*PASSWORD\w*)([^}]*)\}", (root / "docker-compose.yaml").read_text())
    assert passwords
    assert all(rest == "" or rest.startswith(":?") for _, rest in passwords)


def test_docker_compose_accepts_the_file(root: Path) -> None:
    has_plugin = (
        shutil.which("docker")
        and not subprocess.run(["docker", "compose", "version"], check=False, capture_output=True).returncode
    )
    if not has_plugin:
        pytest.skip("the docker compose plugin is not installed; the schema above was checked")
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "POSTGRES_PASSWORD": "only-for-this-test"}
    command = ["docker", "compose", "--file", str(root / "docker-compose.yaml"), "config", "--quiet"]
    checked = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize("name", _DOCKERFILES)
def test_a_dockerfile_takes_its_debian_packages_from_the_one_list(root: Path, name: str) -> None:
    text = (root / name).read_text()
    installs = re.findall(r"apt-get install[^&]*", text)
    listed = {
        line.split()[0] for line in (root / "scripts/debian-packages.txt").read_text().splitlines() if line[:1] != "#"
    }
    assert len(installs) == 1
    assert "$(awk" in installs[0]
    assert "scripts/debian-packages.txt" in installs[0]
    assert set(re.findall(r'\$1 == "(\w+)"', installs[0])) <= listed


@pytest.mark.parametrize("name", _DOCKERFILES)
def test_a_dockerfile_installs_the_extras_of_the_set_up_under_the_same_pins(root: Path, name: str) -> None:
    text = (root / name).read_text()
    runtime = re.search(r"^ARG RUNTIME=(\w+)$", text, re.MULTILINE)
    installed = re.findall(r'pip install [^"]*-c constraints.txt[^"]*"\.\[([^\]]+)\]"', text)
    extras = {runtime[1] if runtime and extra == "$RUNTIME" else extra for extra in installed[0].split(",")}
    assert len(installed) == 1
    assert extras <= _setup_extras(root) - {"dev"}
    assert name != "Dockerfile.hub" or extras == _setup_extras(root) - {"dev"}


@pytest.mark.parametrize("name", _DOCKERFILES)
def test_a_dockerfile_copies_only_what_exists_and_all_that_the_build_reads(root: Path, name: str) -> None:
    copied = [
        source
        for line in re.findall(r"^COPY (.+)$", (root / name).read_text(), re.MULTILINE)
        for source in line.split()[:-1]
    ]
    assert [source for source in copied if not (root / source).exists()] == []
    folders = re.search(r"^dev-mode-dirs = \[(.+)\]$", (root / "pyproject.toml").read_text(), re.MULTILINE)
    assert folders
    assert {"pyproject.toml", "README.md", "LICENSE", *re.findall(r'"(\w+)"', folders[1])} <= set(copied)
