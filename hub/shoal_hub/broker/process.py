"""Mosquitto's process: started, adopted when it has outlived the hub, replaced when its configuration changed."""

import hashlib
import os
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from shoal_hub.broker.config import HUB_ACL, BrokerConfig, Listener, render
from shoal_hub.broker.errors import BrokerError

_START_TIMEOUT_S: Final = 15.0
_STOP_TIMEOUT_S: Final = 15.0
_POLL_S: Final = 0.02
_LOG_TAIL_BYTES: Final = 2000


class BrokerProcess:
    """One Mosquitto over one configuration. Not safe to share between threads."""

    def __init__(self, program: Path, config: BrokerConfig) -> None:
        self._program = program
        self._config = config
        self._child: subprocess.Popen[bytes] | None = None
        self._adopted: int | None = None

    @property
    def pid(self) -> int | None:
        """The process id while the broker runs."""
        if self._child is not None:
            return self._child.pid if self._child.poll() is None else None
        return self._adopted if self._adopted is not None and _is_ours(self._config, self._adopted) else None

    def ensure(self) -> bool:
        """Have the broker run with this configuration; return whether a running one was adopted.

        Raises:
            BrokerError: It does not start; the error holds the end of its log.
        """
        digest = write_files(self._config)
        digest_file = self._config.folder / "config.sha256"
        running = running_pid(self._config)
        if running is not None and digest_file.exists() and digest_file.read_text() == digest:
            self._adopted = running
            reload(self._config)
            self._wait_until_open()
            return True
        if running is not None:
            self._end(running)
        digest_file.write_text(digest)
        self._start()
        return False

    def stop(self) -> None:
        """Stop the broker; it writes what is retained to disk first.

        Raises:
            BrokerError: It does not end, not even when killed.
        """
        pid = self.pid
        if pid is not None:
            self._end(pid)
        self._child = self._adopted = None

    def _start(self) -> None:
        # A session of its own: a Ctrl-C at the terminal is for the hub, which then decides about the broker.
        with (self._config.folder / "mosquitto.out").open("wb") as output:
            self._child = subprocess.Popen(
                [self._program, "-c", self._config.conf_path],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._adopted = None
        self._wait_until_open()

    def _wait_until_open(self) -> None:
        deadline = time.monotonic() + _START_TIMEOUT_S
        waiting = [self._config.devices, self._config.hub]
        while waiting:
            if self.pid is None or time.monotonic() > deadline:
                raise self._start_error()
            waiting = [listener for listener in waiting if not _accepts(listener)]
            if waiting:
                time.sleep(_POLL_S)

    def _start_error(self) -> BrokerError:
        ports = f"{self._config.devices.port} and {self._config.hub.port}"
        log = self._config.folder / "mosquitto.out"
        lines = [
            path.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace")
            for path in (self._config.log_path, log)
            if path.exists()
        ]
        return BrokerError(
            f"starting the broker {self._program} on ports {ports}: no answer; its log ends:\n{''.join(lines)}",
            "free the ports or choose others (SHOAL_BROKER_PORT, SHOAL_HUB_LISTENER_PORT), then start the hub again",
        )

    def _end(self, pid: int) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.kill(pid, number)
            deadline = time.monotonic() + _STOP_TIMEOUT_S
            while time.monotonic() < deadline:
                if not self._is_alive(pid):
                    return
                time.sleep(_POLL_S)
        raise BrokerError(f"stopping the broker: process {pid} does not end", f"end process {pid} by hand")

    def _is_alive(self, pid: int) -> bool:
        if self._child is not None and self._child.pid == pid:
            return self._child.poll() is None
        return _is_ours(self._config, pid)


def write_files(config: BrokerConfig) -> str:
    """Write the configuration and the hub's ACL; return a hash of all that a running broker does not read again.

    What devices may do changes all the time and is written by `DeviceAccess`.
    """
    config.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    config.database_dir.mkdir(mode=0o700, exist_ok=True)
    text = render(config)
    config.conf_path.write_text(text)
    config.hub.acl.write_text(HUB_ACL)
    digest = hashlib.sha256((text + HUB_ACL).encode())
    for listener in (config.devices, config.hub):
        digest.update(listener.identity.certificate.read_bytes() + listener.authority.read_bytes())
    return digest.hexdigest()


def reload(config: BrokerConfig) -> bool:
    """Have a running broker read its ACLs and revocation lists again; return whether there is one to tell.

    It does so within a tenth of a second, and no connection ends by it. Mosquitto opens its ports before it catches
    signals, and one that it does not catch ends it: a broker that is starting is waited for.
    """
    deadline = time.monotonic() + _START_TIMEOUT_S
    while (pid := running_pid(config)) is not None:
        if _catches(pid, signal.SIGHUP):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGHUP)
            return True
        if time.monotonic() > deadline:
            raise BrokerError(
                f"having the broker read its rules again: process {pid} does not listen to SIGHUP after "
                f"{_START_TIMEOUT_S:g} s, so it is still starting",
                f"look into {config.log_path} for what it waits for; the hub tries again",
            )
        time.sleep(_POLL_S)
    return False


def written_digest(folder: Path) -> str:
    """Return the hash, as `write_files` makes it, of what lies in the broker's folder now.

    Raises:
        OSError: A file is missing.
    """
    text = (folder / "mosquitto.conf").read_text()
    digest = hashlib.sha256((text + (folder / "hub.acl").read_text()).encode())
    for authority, certificate in zip(_values(text, "cafile"), _values(text, "certfile"), strict=True):
        digest.update(Path(certificate).read_bytes() + Path(authority).read_bytes())
    return digest.hexdigest()


def _values(text: str, name: str) -> list[str]:
    return [line.removeprefix(f"{name} ") for line in text.splitlines() if line.startswith(f"{name} ")]


def running_pid(config: BrokerConfig) -> int | None:
    """Return the process id of a broker that was started on this folder's configuration and still runs."""
    try:
        pid = int(config.pid_path.read_text())
    except (FileNotFoundError, ValueError):
        return None
    return pid if _is_ours(config, pid) else None


def _is_ours(config: BrokerConfig, pid: int) -> bool:
    """Whether `pid` is alive and was started on our configuration: the number may belong to another by now."""
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return os.fsencode(config.conf_path) in arguments


def _catches(pid: int, number: signal.Signals) -> bool:
    """Whether the process has a handler of its own for the signal: `SigCgt` of proc_pid_status(5)."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    caught = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught, 16) >> (number - 1) & 1)


def _accepts(listener: Listener) -> bool:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(listener.host, listener.host)  # noqa: S104
    try:
        with socket.create_connection((host, listener.port), timeout=1.0):
            return True
    except OSError:
        return False
