"""The operators' CLI at a real hub with three devices, one command line at a time."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from pydantic import SecretStr
from tests.hub.served import ServedHub, served_hub

from shoal_client import Profile
from shoal_client.profile import write_profile
from shoal_hub.cli import main, output
from shoal_hub.database import utc_now
from shoal_hub.devices.tables import Device

DEVICES = {"kitchen": "d-" + "a" * 16, "garden": "d-" + "b" * 16, "twin": "d-" + "c" * 16}


class Ran(NamedTuple):
    """How a command ended."""

    status: int
    out: str
    err: str


Shoal = Callable[..., Ran]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedHub]:
    with served_hub(tmp_path_factory.mktemp("hub")) as hub:
        with hub.hub.database.transaction() as session:
            for name, device_id in DEVICES.items():
                label = "kitchen" if name == "twin" else name
                session.add(
                    Device(
                        id=device_id,
                        name=label,
                        public_key_sha256="0" * 64,
                        certificate_serial="1",
                        enrolled_at=utc_now(),
                    )
                )
        yield hub


@pytest.fixture
def shoal(
    served: ServedHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Shoal:
    """Run one command line in this process, as its own profile's operator."""
    profile = tmp_path / "profile.json"
    write_profile(Profile(url=served.url, token=SecretStr(served.token), ca_path=served.ca_path), profile)
    monkeypatch.setenv("SHOAL_PROFILE", str(profile))
    for shown in (output.console, output.errors):  # as wide as a screen, whatever runs the tests
        monkeypatch.setattr(shown, "_width", 200)

    def run(*arguments: str) -> Ran:
        monkeypatch.setattr("sys.argv", ["shoal", *arguments])
        status = 0
        try:
            main()
        except SystemExit as ended:
            status = int(ended.code or 0)
        captured = capsys.readouterr()
        return Ran(status, captured.out, captured.err)

    return run
