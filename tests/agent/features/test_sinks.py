"""Sinks hand results on: files turn over by size, addresses are asked, hooks run what the device's owner says."""

import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from shoal_agent.features import FeaturesError, UnreachableError
from shoal_agent.features.sinks.file import RotatedFile
from shoal_agent.features.sinks.hook import Hook, find_hook
from shoal_agent.features.sinks.http import Posts

pytestmark = pytest.mark.anyio


async def test_a_file_begins_anew_before_it_outgrows_its_bound_and_the_oldest_goes(tmp_path: Path) -> None:
    path = tmp_path / "new" / "out"
    sink = RotatedFile(path, 10, 2)
    for number in range(1, 9):
        await sink.send([b"%d" % number] * 2)  # four bytes each
    found = {one: (path.parent / one).read_bytes() for one in os.listdir(path.parent)}  # noqa: PTH208 - of a test
    assert found == {
        "out": b"7\n7\n8\n8\n",
        "out.1": b"5\n5\n6\n6\n",
        "out.2": b"3\n3\n4\n4\n",
    }


async def test_no_former_file_stays_if_none_is_kept(tmp_path: Path) -> None:
    sink = RotatedFile(tmp_path / "out", 3, 0)
    for one in (b"a", b"b"):
        await sink.send([one])
        await sink.send([one])
    assert os.listdir(tmp_path) == ["out"]  # noqa: PTH208 - of a test
    assert (tmp_path / "out").read_bytes() == b"b\n"


async def test_a_disk_that_takes_no_file_is_worth_another_try(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(UnreachableError, match="writing results"):
        await RotatedFile(tmp_path / "out", 10, 0).send([b"a"])


class Answering(BaseHTTPRequestHandler):
    """Answers with the status that the path names."""

    bodies: list[tuple[str, bytes]] = []  # noqa: RUF012 - emptied by the fixture

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.bodies.append((self.headers["Content-Type"], body))
        self.send_response(int(self.path.rpartition("/")[2]))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    Answering.bodies = []
    server = HTTPServer(("127.0.0.1", 0), Answering)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


async def test_results_are_lines_of_one_request(url: str) -> None:
    await Posts(f"{url}/200", 5).send([b'{"a": 1}', b'{"a": 2}'])
    assert Answering.bodies == [("application/x-ndjson", b'{"a": 1}\n{"a": 2}\n')]


@pytest.mark.parametrize("status", [500, 503, 429, 408])
async def test_an_answer_that_asks_for_another_try_gets_one(url: str, status: int) -> None:
    with pytest.raises(UnreachableError, match=str(status)):
        await Posts(f"{url}/{status}", 5).send([b"{}"])


@pytest.mark.parametrize("status", [301, 400, 404])
async def test_an_answer_that_refuses_is_final(url: str, status: int) -> None:
    with pytest.raises(FeaturesError, match=str(status)) as caught:
        await Posts(f"{url}/{status}", 5).send([b"{}"])
    assert not isinstance(caught.value, UnreachableError)


async def test_an_address_that_nobody_listens_at_is_worth_another_try_and_one_beyond_the_lan_is_not() -> None:
    with pytest.raises(UnreachableError):
        await Posts("http://127.0.0.1:9/", 2).send([b"{}"])
    with pytest.raises(FeaturesError, match="beyond this device"):
        await Posts("http://8.8.8.8/", 2).send([b"{}"])
    with pytest.raises(FeaturesError, match="expected http://"):
        Posts("http://:0/", 2)


def hooks(tmp_path: Path, text: str, mode: int = 0o600) -> Path:
    path = tmp_path / "hooks.toml"
    path.write_text(text)
    path.chmod(mode)
    return path


async def test_a_hook_gets_results_on_its_input_and_nothing_of_the_agent_s_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "x")
    out = tmp_path / "out"
    path = hooks(tmp_path, f'horn = ["sh", "-c", "cat > {out}; env >> {out}"]')
    await Hook("horn", find_hook(path, "horn"), 5).send([b"1", b"2"])
    assert out.read_text().startswith("1\n2\n")
    assert "SECRET" not in out.read_text()


@pytest.mark.parametrize(
    ("command", "said"),
    [(("false",), "exit status 1"), (("sleep", "60"), "not done after"), (("/no/such",), "starting /no/such")],
)
async def test_a_hook_that_fails_is_worth_another_try(command: tuple[str, ...], said: str) -> None:
    with pytest.raises(UnreachableError, match=said):
        await Hook("horn", command, 0.3).send([b"1"])


@pytest.mark.parametrize(
    ("text", "mode", "said"),
    [
        ('bell = ["true"]', 0o600, "this device has bell"),
        ('horn = ["true"]', 0o622, "may write"),
        ("horn = []", 0o600, "at least 1"),
        ('horn = "true"', 0o600, "tuple"),
        ("horn = [", 0o600, "hooks.toml"),
        ("#" * 70_000, 0o600, "bytes"),
    ],
)
def test_a_hook_that_is_not_the_owner_s_is_refused(tmp_path: Path, text: str, mode: int, said: str) -> None:
    with pytest.raises(FeaturesError, match=said):
        find_hook(hooks(tmp_path, text, mode), "horn")
    with pytest.raises(FeaturesError, match="has none"):
        find_hook(None, "horn")
    with pytest.raises(FeaturesError, match="has none"):
        find_hook(tmp_path / "missing", "horn")
