"""As many requests as a server takes, by wrk: eight keep-alive connections, each with one request in flight."""

import os
import re
import subprocess
import sys
from pathlib import Path

CONNECTIONS = 8
PACKAGES = ("wrk", "libluajit-5.1-2")
_RATE = re.compile(r"Requests/sec: *([\d.]+)")
_FAILED = re.compile(r"Non-2xx or 3xx responses: *(\d+)|Socket errors:.*")


def install_wrk(folder: Path) -> Path:
    """Unpack Debian's wrk once; return its program."""
    program = folder / "usr" / "bin" / "wrk"
    if not program.exists():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["apt-get", "download", *PACKAGES], cwd=folder, check=True, stdout=sys.stderr)
        for package in folder.glob("*.deb"):
            subprocess.run(["dpkg-deb", "-x", package, folder], check=True)
    return program


def requests_per_s(wrk: Path, folder: Path, url: str, body: bytes, duration_s: int) -> float:
    """Return how many requests a second a server answers.

    Raises:
        RuntimeError: Some were not answered with 200.
    """
    script = folder / "post.lua"
    data = folder / "body.json"
    data.write_bytes(body)
    script.write_text(
        f'local file = io.open("{data}", "rb")\n'
        'wrk.method = "POST"\nwrk.body = file:read("*a")\nwrk.headers["Content-Type"] = "application/json"\n'
    )
    command = [wrk, "-t1", f"-c{CONNECTIONS}", f"-d{duration_s}s", "--timeout", "10s", "-s", script, url]
    [libraries] = {str(library.parent) for library in wrk.parents[1].glob("lib/*/libluajit-5.1.so.2")}
    variables = {**os.environ, "LD_LIBRARY_PATH": libraries}
    ran = subprocess.run(command, check=True, capture_output=True, text=True, env=variables)
    rate, failed = _RATE.search(ran.stdout), _FAILED.search(ran.stdout)
    if rate is None or failed is not None:
        msg = f"asking {url}: {ran.stdout}"
        raise RuntimeError(msg)
    return float(rate[1])
