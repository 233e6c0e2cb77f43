"""A runtime that a board can not run is found out in a child, once, and ends no agent."""

import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.fixtures.trial import answer

from shoal_agent.engines.runtime_check import Ended, RuntimeCheck, build_of, try_in_child
from shoal_agent.engines.runtime_trial import trial_input, try_runtime
from shoal_agent.hardware import available_runtimes

BOARD = "raspberry-pi Raspberry Pi 4 Model B Rev 1.4 aarch64 4"


class _Child:
    """Counts what is tried, and ends as it is told."""

    def __init__(self, *ends: Ended) -> None:
        self.tried: list[str] = []
        self._ends = list(ends)

    def __call__(self, module: str, timeout_s: float) -> Ended:
        assert timeout_s == 5.0
        self.tried.append(module)
        return self._ends[0] if len(self._ends) == 1 else self._ends.pop(0)


@pytest.fixture(autouse=True)
def _one_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    """One module is enough for most claims: `json` stands for a runtime."""
    monkeypatch.setattr("shoal_agent.engines.runtime_check.RUNTIME_MODULES", {"litert": ("json", "no_such_module")})


def _check(path: Path, child: _Child, board: str = BOARD) -> dict[str, str]:
    broken = RuntimeCheck(path, board, 5.0, child).broken()
    assert all(error.remedy for error in broken.values())
    return {name: str(error) for name, error in broken.items()}


def test_a_runtime_that_works_is_tried_once_and_no_more(tmp_path: Path) -> None:
    path, child = tmp_path / "run" / "runtimes.json", _Child(Ended(0))
    assert [_check(path, child) for _ in range(3)] == [{}, {}, {}]
    assert child.tried == ["json"]


def test_an_illegal_instruction_is_told_as_such_and_not_tried_again(tmp_path: Path) -> None:
    path, child = tmp_path / "runtimes.json", _Child(Ended(-signal.SIGILL))
    first, second = _check(path, child), _check(path, child)
    assert first == second
    assert "SIGILL (an instruction that the processor does not have)" in first["json"]
    assert "checking the runtime json" in first["json"]
    assert child.tried == ["json"]


@pytest.mark.parametrize(
    ("ended", "told"),
    [
        (Ended(-signal.SIGSEGV), "ended with SIGSEGV"),
        (Ended(1, "Traceback\n  ...\nImportError: numpy 1 expected\n"), "failed: Traceback ... ImportError: numpy 1"),
        (Ended(3), "failed: exit status 3"),
        (Ended(-64), "ended with SIGRTMAX"),
        (Ended(-99), "ended with signal 99"),
    ],
)
def test_however_it_fails_the_error_tells(tmp_path: Path, ended: Ended, told: str) -> None:
    path, child = tmp_path / "runtimes.json", _Child(ended)
    assert told in _check(path, child)["json"]
    _check(path, child)
    assert len(child.tried) == 1


@pytest.mark.parametrize("ended", [Ended(None), Ended(-signal.SIGKILL), Ended(-signal.SIGTERM)])
def test_what_may_have_come_from_outside_is_not_remembered(tmp_path: Path, ended: Ended) -> None:
    path, child = tmp_path / "runtimes.json", _Child(ended, Ended(0))
    assert "json" in _check(path, child), "it is not used before it has worked once"
    assert _check(path, child) == {}
    assert _check(path, child) == {}
    assert len(child.tried) == 2


def test_another_build_or_board_is_tried_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, child = tmp_path / "runtimes.json", _Child(Ended(-signal.SIGILL), Ended(0))
    _check(path, child)
    monkeypatch.setattr("shoal_agent.engines.runtime_check.version_of", lambda _: "2.0")
    assert _check(path, child) == {}
    _check(path, child, "raspberry-pi Raspberry Pi 5 aarch64 4")
    assert len(child.tried) == 3


def test_a_build_is_told_from_another_one_of_the_same_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "a_runtime"
    package.mkdir()
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    before = build_of("a_runtime")
    os.utime(package / "__init__.py", (1, 1))
    assert build_of("a_runtime") != before


@pytest.mark.parametrize("content", [b"", b"[]", b'{"json": {"build": 1}}', b"\0\xff"])
def test_a_damaged_file_of_verdicts_counts_as_empty(tmp_path: Path, content: bytes) -> None:
    path, child = tmp_path / "runtimes.json", _Child(Ended(0))
    path.write_bytes(content)
    assert _check(path, child) == {}
    _check(path, child)
    assert len(child.tried) == 1


def test_a_disk_that_takes_no_verdict_costs_another_check(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "run").write_text("in the way")
    child = _Child(Ended(0))
    for _ in range(2):
        assert _check(tmp_path / "run" / "runtimes.json", child) == {}
    assert len(child.tried) == 2
    assert "checked again" in caplog.text


def test_an_illegal_instruction_ends_the_child_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "a_runtime"
    package.mkdir()
    (package / "__init__.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGILL)\n")
    (package / "interpreter.py").touch()
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    assert try_in_child("a_runtime", 60).status == -signal.SIGILL


def test_a_runtime_that_does_not_import_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a_runtime.py").write_text("raise ImportError('built for another numpy')\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    ended = try_in_child("a_runtime", 60)
    assert ended.status == 1
    assert "ImportError: built for another numpy" in ended.said


def test_a_child_that_does_not_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a_runtime.py").write_text("import time\ntime.sleep(600)\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    assert try_in_child("a_runtime", 2).status is None


@pytest.mark.parametrize("module", ["onnxruntime", "ai_edge_litert"])
def test_the_installed_runtimes_pass_in_the_child(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    ended = try_in_child(module, 60)
    assert ended.status == 0, ended.said


@pytest.mark.parametrize("module", ["onnxruntime", "ai_edge_litert"])
def test_the_trial_models_calculate_what_they_should(module: str) -> None:
    np.testing.assert_allclose(try_runtime(module), answer(trial_input()), atol=0.05)


def test_a_broken_module_gives_way_to_another_of_the_same_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    assert available_runtimes(broken=("ai_edge_litert",)) == ("onnxruntime",)
    monkeypatch.setattr("shoal_agent.hardware.find_spec", lambda name: name != "onnxruntime" or None)
    assert available_runtimes(broken=("ai_edge_litert",)) == ("litert",)
    assert available_runtimes(broken=("ai_edge_litert", "tflite_runtime")) == ()
