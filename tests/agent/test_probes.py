"""Probes: what the owner has defined runs with clean hands, in bounds, and stays on this device and its LAN."""

import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import anyio
import pytest
from tests.agent.simulators.owner import Owner

from shoal_agent.errors import ProbeError, ProbeSetupError
from shoal_agent.probe_run import MAX_SAID_CHARS, ask
from shoal_agent.probes import Probes

pytestmark = pytest.mark.anyio


class _Answers(BaseHTTPRequestHandler):
    """Answers with the status in the path, and keeps what it was asked."""

    asked: list[tuple[str, str, bytes]]

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.asked.append((self.command, self.path, body))
        self.send_response(int(self.path[1:4]))
        self.send_header("Location", "/200")
        self.end_headers()
        self.wfile.write(b"camera is dark")

    do_POST = do_GET  # noqa: N815 - the library's name

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def asked() -> list[tuple[str, str, bytes]]:
    return []


@pytest.fixture
def url(asked: list[tuple[str, str, bytes]]) -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), type("Answers", (_Answers,), {"asked": asked}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def owner(tmp_path: Path) -> Owner:
    return Owner(tmp_path)


def python(code: str) -> str:
    """Return the `exec` of a probe that runs Python code."""
    return f"exec = [{sys.executable!r}, '-c', '''{code}''']"


async def test_a_program_that_ends_with_zero_passes_and_any_other_does_not(owner: Owner) -> None:
    owner.define(f"[good]\n{python('pass')}\n[bad]\n{python('print(chr(99)*3); raise SystemExit(3)')}")
    good, bad = await Probes(owner.probes_file).run("good"), await Probes(owner.probes_file).run("bad")
    assert (good.has_passed, good.detail) == (True, "exit status 0")
    assert (bad.has_passed, bad.detail) == (False, "exit status 3; it said: ccc")
    with pytest.raises(ProbeError, match=r"'bad' did not pass in 1 attempts: exit status 3; it said: ccc"):
        await Probes(owner.probes_file).require(["good", "bad"])


async def test_a_program_gets_no_secret_of_the_agent_s_environment_and_no_input(
    owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOAL_TOKEN", "secret")
    owner.define(f"[env]\n{python('import os, sys; print(sorted(os.environ), os.getcwd(), repr(sys.stdin.read()))')}")
    result = await Probes(owner.probes_file, {"SHOAL_ENDPOINT": "x"}).run("env", {"SHOAL_MODEL": "tiny"})
    names = {"HOME", "LANG", "PATH", "SHOAL_ENDPOINT", "SHOAL_MODEL"}
    assert {name for name in names if f"'{name}'" in result.detail} == names
    assert "SHOAL_TOKEN" not in result.detail
    assert result.detail.endswith("/ ''")


async def test_a_program_that_does_not_end_is_ended_with_all_that_it_has_started(owner: Owner, tmp_path: Path) -> None:
    child = tmp_path / "child"
    code = f'import subprocess, time; p = subprocess.Popen(["sleep", "60"]); open("{child}", "w").write(str(p.pid))'
    owner.define(f"[stuck]\n{python(code + '; time.sleep(60)')}\ntimeout_s = 1.5")
    started_s = time.monotonic()
    result = await Probes(owner.probes_file).run("stuck")
    assert (result.has_passed, result.detail) == (False, "not done after 1.5 s")
    assert time.monotonic() - started_s < 10
    pid = int(child.read_text())
    with anyio.fail_after(5):
        while _runs(pid):  # noqa: ASYNC110 - no event tells of another process's child
            await anyio.sleep(0.02)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


async def test_of_much_output_the_end_is_kept(owner: Owner) -> None:
    owner.define(f"[loud]\n{python('print(chr(120) * 5_000_000); print(chr(27) + chr(101) * 3); raise SystemExit(1)')}")
    result = await Probes(owner.probes_file).run("loud")
    assert result.detail.endswith("x  eee")
    assert len(result.detail) < MAX_SAID_CHARS + 50


async def test_a_probe_is_attempted_as_often_as_its_owner_says(owner: Owner, tmp_path: Path) -> None:
    count = tmp_path / "count"
    code = f'p = open("{count}", "a+"); p.write("x"); p.seek(0); raise SystemExit(len(p.read()) < 3)'
    owner.define(f"[third]\n{python(code)}\nattempts = 5\ninterval_s = 0.01")
    result = await Probes(owner.probes_file).run("third")
    assert (result.has_passed, result.attempts) == (True, 3)


async def test_a_program_that_is_not_there_is_a_mistake_of_the_definition(owner: Owner) -> None:
    owner.define('[gone]\nexec = ["/no/such/program"]')
    with pytest.raises(ProbeSetupError, match="starting /no/such/program"):
        await Probes(owner.probes_file).run("gone")


async def test_an_http_probe_passes_with_its_status_and_follows_nowhere(
    owner: Owner, url: str, asked: list[tuple[str, str, bytes]]
) -> None:
    owner.define(
        f'[up]\nhttp = "{url}/200?a=b"\n[moved]\nhttp = "{url}/302"\n'
        f'[post]\nhttp = "{url}/202"\nmethod = "POST"\nbody = "[1]"\nstatus = 202'
    )
    probes = Probes(owner.probes_file)
    assert [(await probes.run(name)).has_passed for name in ("up", "moved", "post")] == [True, False, True]
    assert asked == [("GET", "/200?a=b", b""), ("GET", "/302", b""), ("POST", "/202", b"[1]")]
    assert (await probes.run("moved")).detail == "HTTP status 302, 200 expected; it said: camera is dark"


async def test_an_http_probe_that_nobody_answers_does_not_pass(owner: Owner) -> None:
    owner.define('[off]\nhttp = "http://127.0.0.1:9/"\ntimeout_s = 2')
    result = await Probes(owner.probes_file).run("off")
    assert not result.has_passed
    assert "refused" in result.detail


@pytest.mark.parametrize("address", ["http://8.8.8.8/", "https://127.0.0.1/", "file:///etc/passwd", "http:///x"])
async def test_an_http_probe_stays_on_the_lan(owner: Owner, address: str) -> None:
    owner.define(f'[far]\nhttp = "{address}"\ntimeout_s = 1')
    with pytest.raises(ProbeSetupError, match="beyond this device|expected"):
        await Probes(owner.probes_file).run("far")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[x", "reading the probes"),
        ("[x]", "give either exec or http"),
        ('[x]\nexec = ["a"]\nhttp = "http://b"', "give either exec or http"),
        ('[x]\nexec = "a b"', "x.exec"),
        ('[x]\nexec = ["a"]\nshell = true', "x.shell"),
        ('[x]\nexec = ["a"]\ntimeout_s = 0', "x.timeout_s"),
        ('["A B"]\nexec = ["a"]', "pattern"),
        ('[x]\nhttp = "http://127.0.0.1:99999/"', "Port out of range"),
        ('[x]\nhttp = "http://127.0.0.1/k\u00fcche"', "in ASCII expected"),
        ('[x]\nhttp = "http://127.0.0.1/a b"', "in ASCII expected"),
        ('[x]\nhttp = "http://[::1/"', "Invalid IPv6"),
        ('[x]\nhttp = "http://a/"\ncontent_type = "a\\nX-B: c"', "x.content_type"),
        ("# " + "x" * 70_000, "more than 65536 bytes"),
    ],
)
def test_a_file_that_is_none_of_its_form_says_where(owner: Owner, text: str, complaint: str) -> None:
    owner.define(text)
    with pytest.raises(ProbeSetupError, match=complaint):
        Probes(owner.probes_file).defined()


async def test_what_can_not_be_sent_as_http_is_a_mistake_of_the_definition() -> None:
    with pytest.raises(ProbeSetupError, match="probe 'x': POST 'http://127.0.0.1:9/': Invalid header value"):
        await ask("x", "http://127.0.0.1:9/", "POST", "", "a\nb", 200, 1.0)


def test_a_broken_file_is_no_matter_of_who_asks_for_no_probes(owner: Owner) -> None:
    owner.define("[x")
    assert Probes(owner.probes_file).check([]) == {}


def test_a_file_that_the_disk_does_not_give_says_so(tmp_path: Path) -> None:
    with pytest.raises(ProbeSetupError, match="reading the probes.*name too long"):
        Probes(tmp_path / ("x" * 300)).defined()


def test_a_file_that_others_may_write_is_refused(owner: Owner) -> None:
    owner.define(f"[x]\n{python('pass')}")
    owner.probes_file.chmod(0o622)
    with pytest.raises(ProbeSetupError, match="others than root") as refused:
        Probes(owner.probes_file).defined()
    assert "chmod 600" in refused.value.remedy


def test_a_name_that_is_not_defined_says_which_are_and_what_to_do(owner: Owner) -> None:
    owner.define(f"[camera]\n{python('pass')}")
    with pytest.raises(ProbeSetupError, match="'lens'.*this device has camera") as unknown:
        Probes(owner.probes_file).check(["camera", "lens"])
    assert str(owner.probes_file) in unknown.value.remedy
    assert Probes(None).defined() == {}
