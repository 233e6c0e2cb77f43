"""What is kept on disk is whole or not there, whenever a process ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from shoal_compression.store import Store

DIES_WHILE_IT_WRITES = """
import os, signal, sys
from pathlib import Path
from shoal_compression.store import Store

def write(folder):
    (folder / "half").write_text("x")
    os.kill(os.getpid(), signal.SIGKILL)

Store(Path(sys.argv[1])).put("key", write)
"""


def _write(text: str) -> object:
    return lambda folder: (folder / "file").write_text(text)


def test_what_was_put_is_found_and_the_first_stays(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.find("key") is None
    store.put("key", _write("first"))
    store.put("key", _write("second"))
    folder = store.find("key")
    assert folder is not None
    assert (folder / "file").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_a_process_that_is_killed_while_it_writes_leaves_nothing_to_find(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", DIES_WHILE_IT_WRITES, str(tmp_path)], check=False, timeout=100)
    assert done.returncode == -signal.SIGKILL
    store = Store(tmp_path)
    assert store.find("key") is None
    [left] = tmp_path.iterdir()
    assert left.name.startswith(".new-")
    store.clear_unfinished()
    assert list(tmp_path.iterdir()) == []


def test_what_a_running_process_has_begun_is_left_alone(tmp_path: Path) -> None:
    begun = tmp_path / f".new-{os.getpid()}-a"
    begun.mkdir()
    Store(tmp_path).clear_unfinished()
    assert begun.is_dir()


def test_an_error_while_writing_leaves_nothing(tmp_path: Path) -> None:
    def write(folder: Path) -> None:
        (folder / "half").write_text("x")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Store(tmp_path).put("key", write)
    assert list(tmp_path.iterdir()) == []
