"""A Mosquitto as a device's owner has it: on loopback, without names, passwords or certificates."""

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from shoal_hub.broker.ports import free_port
from shoal_hub.broker.program import find_mosquitto


@contextmanager
def plain_broker(folder: Path, port: int = 0, more: str = "") -> Iterator[int]:
    """Run one, with more lines of settings, for the length of the block; gives its port, a free one unless asked."""
    port = port or free_port()
    config = folder / f"mosquitto-{port}.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n{more}")
    process = subprocess.Popen([find_mosquitto(), "-c", str(config)], stderr=subprocess.DEVNULL)
    try:
        deadline_s = time.monotonic() + 10
        while time.monotonic() < deadline_s:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
        yield port
    finally:
        process.terminate()
        process.wait(10)
