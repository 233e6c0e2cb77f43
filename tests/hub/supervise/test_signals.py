"""A process of the hub ends when it is told to, whatever its main thread is at."""

import subprocess
import sys

import pytest

AMID_A_LOCK = """
import os, signal, sys, threading
from shoal_hub.processes.signals import stop_on_signals

lock, stopped = threading.Lock(), threading.Event()

def stop():
    with lock:
        stopped.set()

stop_on_signals(stop)
with lock:
    os.kill(os.getpid(), int(sys.argv[1]))
sys.exit(0 if stopped.wait(20) else 1)
"""


@pytest.mark.parametrize("number", [15, 2], ids=["SIGTERM", "SIGINT"])
def test_a_signal_that_comes_while_the_main_thread_holds_a_lock_ends_the_process(number: int) -> None:
    command = [sys.executable, "-c", AMID_A_LOCK, str(number)]
    assert subprocess.run(command, check=False, timeout=30).returncode == 0
