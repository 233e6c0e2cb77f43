"""Does a runtime work on this board? Found out in a process of its own, once for each build.

A build with instructions that the processor does not have would end the agent at the first import.

What came of it lies in `<data>/run/runtimes.json`, so that later starts read one small file and look at one more.
"""

import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from logging import getLogger
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from shoal_agent.durable import replace_file
from shoal_agent.errors import AgentError
from shoal_agent.hardware import RUNTIME_MODULES

_log = getLogger(__name__)
_DISTRIBUTIONS: Final[dict[str, tuple[str, ...]]] = {
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu", "onnxruntime-jetson"),
    "ai_edge_litert": ("ai-edge-litert",),
    "tflite_runtime": ("tflite-runtime",),
    "numpy": ("numpy",),
}
_FROM_OUTSIDE: Final = frozenset({signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
"""Signals that somebody else sends, such as a kernel that is out of memory: they say nothing of the runtime."""
_MAX_SAID_CHARS: Final = 300
_RUN_FILE: Final = "import runpy, sys; runpy.run_path(sys.argv[1], run_name='__main__')"
"""Unlike a script's, its folder is not where modules are looked for."""


class RuntimeBrokenError(AgentError):
    """A runtime that is installed does not work on this board. It is not used."""

    code = "runtime"
    default_remedy = (
        "install another build of it, made for this board's processor; the agent checks it at its next start"
    )


@dataclass(frozen=True)
class Verdict:
    """What a check came to.

    Attributes:
        build: Of the runtime, and the board.
        problem: Why it does not work; empty if it does.
    """

    build: str
    problem: str = ""


@dataclass(frozen=True)
class Ended:
    """How the child of a check ended.

    Attributes:
        status: Its exit status; a negative one is the signal that it died of. None: it took too long.
        said: The end of what it wrote on its standard error.
    """

    status: int | None
    said: str = ""


_VERDICTS: Final = TypeAdapter(dict[str, Verdict])


def try_in_child(module: str, timeout_s: float) -> Ended:
    """Run `shoal_agent.engines.runtime_trial` for a runtime, and nothing else of the agent."""
    program = Path(__file__).with_name("runtime_trial.py")
    command = [sys.executable, "-c", _RUN_FILE, str(program), module]
    try:
        done = subprocess.run(command, check=False, capture_output=True, timeout=timeout_s, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        return Ended(None)
    return Ended(done.returncode, done.stderr.decode(errors="replace"))


class RuntimeCheck:
    """Checks the installed runtimes, those that are new to this board in a child.

    Args:
        path: Where verdicts are kept. A damaged file counts as empty.
        board: What tells this board from others, by `fingerprint`.
        timeout_s: What one check may take.
        run: Runs the child.
    """

    def __init__(
        self, path: Path, board: str, timeout_s: float, run: Callable[[str, float], Ended] = try_in_child
    ) -> None:
        self._path = path
        self._board = board
        self._timeout_s = timeout_s
        self._run = run

    def broken(self) -> dict[str, RuntimeBrokenError]:
        """Return the installed modules that do not work, each with why."""
        known, verdicts = self._read(), dict[str, Verdict]()
        found = [name for names in RUNTIME_MODULES.values() for name in names if find_spec(name)]
        kept = dict[str, Verdict]()
        for module in found:
            build = f"{build_of(module)} on {self._board}"
            verdict, is_sure = known.get(module), True
            if verdict is None or verdict.build != build:
                verdict, is_sure = self._check(module, build)
            verdicts[module] = verdict
            if is_sure:
                kept[module] = verdict
        if kept != known:
            self._write(kept)
        return {name: RuntimeBrokenError(one.problem) for name, one in verdicts.items() if one.problem}

    def _check(self, module: str, build: str) -> tuple[Verdict, bool]:
        """Return the verdict, and whether it is to be remembered."""
        ended = self._run(module, self._timeout_s)
        doing = f"checking the runtime {module} {version_of(module)} on this board"
        if ended.status == 0:
            _log.info("%s: it works", doing)
            return Verdict(build), True
        problem = f"{doing}: {_how(ended, self._timeout_s)}, so that it is not used"
        _log.error("%s", problem)
        return Verdict(build, problem), ended.status is not None and -ended.status not in _FROM_OUTSIDE

    def _read(self) -> dict[str, Verdict]:
        try:
            return _VERDICTS.validate_json(self._path.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValidationError) as error:
            _log.warning("reading %s: %s; the runtimes are checked again", self._path, error)
            return {}

    def _write(self, verdicts: dict[str, Verdict]) -> None:
        try:
            replace_file(self._path, _VERDICTS.dump_json(verdicts), 0o644)
        except OSError as error:
            _log.warning("writing %s: %s; the runtimes are checked again at the next start", self._path, error)


def version_of(module: str) -> str:
    """Return a runtime's version without importing it; empty where nothing tells it."""
    for distribution in _DISTRIBUTIONS.get(module, ()):
        try:
            return version(distribution)
        except PackageNotFoundError:
            continue
    return ""


def build_of(module: str) -> str:
    """Return what tells an installed build from others: its version, when and where it was installed, and numpy's."""
    spec = find_spec(module)
    origin = spec.origin if spec else None
    try:
        installed = Path(origin).stat().st_mtime_ns if origin else 0
    except OSError:
        installed = 0
    # What was built for one numpy may not work with another.
    return f"{module} {version_of(module)} at {origin} of {installed}, numpy {version_of('numpy')}"


def _how(ended: Ended, timeout_s: float) -> str:
    if ended.status is None:
        return f"importing it and running a small model was not done after {timeout_s:g} s"
    said = " ".join(ended.said.split())[-_MAX_SAID_CHARS:]
    if ended.status >= 0:
        return f"importing it and running a small model failed: {said or f'exit status {ended.status}'}"
    name = _signal_name(-ended.status)
    meaning = " (an instruction that the processor does not have)" if name == "SIGILL" else ""
    return f"importing it and running a small model ended with {name}{meaning}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
