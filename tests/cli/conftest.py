"""Runs command lines of `shoal` in this process, as the operator of a profile."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from pydantic import SecretStr
from tests.hub.served import ServedHub

from shoal_client import Profile
from shoal_client.profile import write_profile
from shoal_hub.cli import main


class Ran(NamedTuple):
    """How a command ended."""

    status: int
    out: str
    err: str


Shoal = Callable[..., Ran]


@pytest.fixture
def shoal(
    served: ServedHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Shoal:
    """Run one command line in this process, as its own profile's operator."""
    profile = tmp_path / "profile.json"
    write_profile(Profile(url=served.url, token=SecretStr(served.token), ca_path=served.ca_path), profile)
    monkeypatch.setenv("SHOAL_PROFILE", str(profile))
    monkeypatch.setenv("COLUMNS", "200")

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
