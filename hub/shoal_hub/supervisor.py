"""`shoal hub up`: prepares the data folder, runs Mosquitto and the hub's three processes, restarts what dies.

The processes end with the supervisor, however it ends; Mosquitto outlives its `kill -9` and is adopted by the next.
"""

import os
import queue
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Final

from shoal_client.profile import profile_path
from shoal_hub.addresses import Addresses
from shoal_hub.broker.errors import BrokerError
from shoal_hub.broker.process import BrokerProcess, write_files
from shoal_hub.broker.program import find_mosquitto, raise_file_limit
from shoal_hub.counts_folder import forget_counts
from shoal_hub.settings import Settings
from shoal_hub.supervise.children import STOP_TIMEOUT_S, Child
from shoal_hub.supervise.claim import claimed
from shoal_hub.supervise.operator import ensure_operator
from shoal_hub.supervise.prepare import broker_config, choose_addresses, prepare_data, write_device_access

NAMES: Final = ("ingest", "controller", "api")
_POLL_S: Final = 0.05
"""How often it looks while something has still to come about: a process that starts, or is to start again."""
_REST_S: Final = 1.0
"""How often it looks while all runs. It is told of the end of a process, but of a broker that it has adopted."""
_MAX_DEATHS_AT_START: Final = 3
_BROKER_RETRY_S: Final = 2.0
_FEW_FILES: Final = 4096
_LOOK_S: Final = 3600.0
"""How often it looks whether a certificate is near its end: a hub may run for longer than they last."""
Say = Callable[[str], None]


class Supervisor:
    """One hub on one data folder.

    Args:
        settings: The hub's settings.
        say: Takes lines for the person at the terminal.
        keep_broker: Leave Mosquitto running at the end.
    """

    def __init__(self, settings: Settings, say: Say, *, keep_broker: bool = False) -> None:
        self._settings = settings
        self._say = say
        self._keep_broker = keep_broker
        self._is_stopping = False
        self._words: queue.SimpleQueue[None] = queue.SimpleQueue()  # its `put` alone is safe in a signal handler
        self._children: list[Child] = []
        self._broker: BrokerProcess | None = None
        self._broker_retry_s = 0.0
        self._standing = b""
        self._shown = ""
        self._next_look_s = 0.0
        self._is_ready = False

    def run(self) -> None:
        """Run until `stop`. When everything serves, `run/ready` appears in the data folder.

        Raises:
            HubError: Something that the hub cannot do without cannot be had; the message says what.
        """
        self._settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        run_dir = self._settings.data / "run"
        run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        ready = run_dir / "ready"
        with claimed(self._settings.data, "starting the hub"):
            ready.unlink(missing_ok=True)
            reading, writing = os.pipe()
            try:
                forget_counts(self._settings.data, NAMES)
                addresses = self._prepare()
                self._start_broker(addresses)
                self._children = [Child(name, self._settings, reading) for name in NAMES]
                while self._rest():
                    self._tend(addresses, ready)
            finally:
                ready.unlink(missing_ok=True)
                self._stop_all()
                os.close(writing)
                os.close(reading)

    def stop(self) -> None:
        """Have `run` end; safe to call from a signal handler or another thread."""
        self._is_stopping = True
        self._words.put(None)

    def heed_signals(self) -> None:
        """Stop at SIGTERM and at Ctrl-C; look at once when a process has ended."""

        def on_signal(_number: int, _frame: FrameType | None) -> None:
            self.stop()

        def on_end(_number: int, _frame: FrameType | None) -> None:
            self._words.put(None)

        signal.signal(signal.SIGTERM, on_signal)
        signal.signal(signal.SIGINT, on_signal)
        signal.signal(signal.SIGCHLD, on_end)

    def _rest(self) -> bool:
        """Wait until there is something to look at, or it is time to; return whether to go on."""
        is_calm = self._is_ready and all(child.is_running for child in self._children)
        with suppress(queue.Empty):
            self._words.get(timeout=_REST_S if is_calm else _POLL_S)
        return not self._is_stopping

    def _prepare(self) -> Addresses:
        self._say(f"data folder {self._settings.data}")
        for warning in prepare_data(self._settings):
            self._say(f"warning: {warning}")
        addresses = choose_addresses(self._settings)
        addresses.write(self._settings)
        profile = ensure_operator(self._settings, addresses)
        if profile is not None:
            unusual = f", as {profile_path()} is of another hub: SHOAL_PROFILE={profile} shoal …"
            self._say(f"operator's profile {profile}{unusual if profile != profile_path() else ''}")
        return addresses

    def _start_broker(self, addresses: Addresses) -> None:
        self._look()
        config = broker_config(self._settings, addresses)
        write_device_access(self._settings, addresses)
        self._shown = write_files(config)
        if self._settings.broker_url:
            self._say(f"broker {self._settings.broker_url} (runs elsewhere; its configuration is {config.conf_path})")
            self._say(f"copy {config.devices.acl} and {config.devices.crl} to it whenever a device is revoked")
            return
        limit = raise_file_limit()
        if limit < _FEW_FILES:
            self._say(f"warning: only {limit} open files are allowed, each device takes one; raise `ulimit -n`")
        self._broker = BrokerProcess(find_mosquitto(self._settings.mosquitto), config)
        is_adopted = self._broker.ensure()
        how = "adopted" if is_adopted else "started"
        self._say(f"broker {how}: devices on {addresses.broker_host}:{addresses.broker_port} (pid {self._broker.pid})")

    def _tend(self, addresses: Addresses, ready: Path) -> None:
        self._tend_certificates(addresses)
        self._tend_broker()
        for child in self._children:
            status = child.tend()
            if status is None:
                continue
            if not self._is_ready and child.deaths >= _MAX_DEATHS_AT_START:
                raise child.start_error(status)
            self._say(f"{child.name} ended with status {status}; starting it again (its log: {child.log_path})")
        if not self._is_ready and all(child.is_ready for child in self._children):
            self._is_ready = True
            ready.write_text(str(os.getpid()))
            self._say(f"ready: API and console on {addresses.api_url}")

    def _look(self) -> bool:
        """Return whether the devices' CA has changed since the last look, or that was long ago."""
        standing = (self._settings.data / "trust" / "ca.json").read_bytes()  # replaced in one step: never half written
        is_due = standing != self._standing or time.monotonic() >= self._next_look_s
        if is_due:
            self._standing, self._next_look_s = standing, time.monotonic() + _LOOK_S
        return is_due

    def _tend_certificates(self, addresses: Addresses) -> None:
        """Have the broker trust, and show, what stands, of which nothing is near its end; the API looks for itself."""
        if not self._look():
            return
        config = broker_config(self._settings, addresses)  # makes anew what is near its end
        shown = write_files(config)
        if shown == self._shown:
            return
        self._shown = shown
        write_device_access(self._settings, addresses)  # a CA without a revocation list would lock out all devices
        self._say("the broker's certificates have changed; it starts again")
        if self._broker is None:
            again = f"{config.devices.authority}, {config.devices.crl} and the listeners' certificates and keys"
            self._say(f"copy {again} to the broker {self._settings.broker_url} and start it again")
        else:
            # Mosquitto reads what it trusts and shows at its start alone.
            self._broker.stop()
            self._broker = BrokerProcess(find_mosquitto(self._settings.mosquitto), config)

    def _tend_broker(self) -> None:
        if self._broker is None or self._broker.pid is not None or time.monotonic() < self._broker_retry_s:
            return
        self._say("the broker has ended; starting it again")
        try:
            self._broker.ensure()
        except BrokerError as error:
            self._broker_retry_s = time.monotonic() + _BROKER_RETRY_S
            self._say(error.message)

    def _stop_all(self) -> None:
        deadline_s = time.monotonic() + STOP_TIMEOUT_S
        for child in self._children:
            child.terminate()
        for child in self._children:
            child.wait(deadline_s)
        if self._broker is not None and not self._keep_broker:
            self._broker.stop()
        self._say("stopped" if not self._keep_broker else "stopped; the broker runs on")


def hub_up(settings: Settings, say: Say, *, keep_broker: bool = False) -> None:
    """Run the hub in this process's foreground until SIGTERM or Ctrl-C.

    Raises:
        HubError: It cannot be started; the message says why and what to do.
    """
    supervisor = Supervisor(settings, say, keep_broker=keep_broker)
    supervisor.heed_signals()
    supervisor.run()
