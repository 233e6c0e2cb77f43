"""zstd, bsdiff and xdelta3 as Debian has them, unpacked below `.cache/bench/`, and how each makes and applies a patch.

GNU time comes with them: it starts each program from a process of its own of 2 MB. What Python starts itself inherits
Python's peak of memory as its own.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

PACKAGES = ("zstd", "bsdiff", "xdelta3", "time")


class Commands(NamedTuple):
    """What to call, with `{old}`, `{new}`, `{patch}` and `{out}` for the files."""

    make: str
    apply: str


PEERS: Mapping[str, Commands] = {
    "zstd -19, without the old file": Commands("zstd -qqf -19 {new} -o {patch}", "zstd -qqfd {patch} -o {out}"),
    "zstd -19 --patch-from": Commands(
        "zstd -qqf -19 --patch-from={old} {new} -o {patch}", "zstd -qqfd --patch-from={old} {patch} -o {out}"
    ),
    "bsdiff 4.3": Commands("bsdiff {old} {new} {patch}", "bspatch {old} {out} {patch}"),
    "xdelta3 -9": Commands("xdelta3 -e -9 -f -s {old} {new} {patch}", "xdelta3 -d -f -s {old} {patch} {out}"),
}


class Cost(NamedTuple):
    """What one process took.

    Attributes:
        cpu_s: user and system time in seconds.
        peak_mb: the most memory that was resident, in MB.
    """

    cpu_s: float
    peak_mb: float


def install_peers(folder: Path) -> Path:
    """Unpack the packages once, without installing them; return the folder of the programs."""
    programs = folder / "root" / "usr" / "bin"
    if not (programs / "xdelta3").exists():
        folder.mkdir(parents=True, exist_ok=True)
        print(f"unpacking {', '.join(PACKAGES)} into {folder}", file=sys.stderr)
        subprocess.run(["apt-get", "download", "-qq", *PACKAGES], cwd=folder, check=True, stdout=sys.stderr)
        for package in sorted(folder.glob("*.deb")):
            subprocess.run(["dpkg-deb", "-x", package, folder / "root"], check=True)
    return programs


def run(programs: Path, command: list[str], folder: Path) -> tuple[Cost, str]:
    """Run a command to its end; return its cost and what it printed."""
    peak = folder / "peak"
    environ = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}
    # GNU time itself takes about a millisecond.
    whole = [str(programs / "time"), "-f", "%M", "-o", str(peak), *command]
    process = subprocess.Popen(whole, env=environ, stdout=subprocess.PIPE)
    assert process.stdout is not None
    printed = process.stdout.read().decode()
    process.stdout.close()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"running {' '.join(command)}: it ended with {process.returncode}: {printed[-500:]}")
    return Cost(usage.ru_utime + usage.ru_stime, int(peak.read_text().split()[-1]) * 1024 / 1e6), printed
