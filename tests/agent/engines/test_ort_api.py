"""The functions that are taken from ONNX Runtime's table are those that their names say."""

import ctypes
import ctypes.util
import math
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tests.fixtures import tiny
from tests.fixtures.onnx_models import echo_model

from shoal_agent.engines import EngineError, EngineSetup, bytes_array
from shoal_agent.engines import ort_api as module
from shoal_agent.engines import ort_session as session_module
from shoal_agent.engines.onnx_session import built_providers
from shoal_agent.engines.ort_api import FUNCTIONS, OrtApi, OrtError, installed_api, library_path
from shoal_agent.engines.ort_session import OrtSession
from shoal_agent.engines.runtime_check import version_of


class CountingApi(OrtApi):
    """The installed library; notes what is called, and which tensors are made and released."""

    def __init__(self) -> None:
        path = library_path()
        assert path is not None
        super().__init__(path)
        self.calls: Counter[str] = Counter()
        self.made_tensors: list[int] = []
        self.released_tensors: list[int] = []
        self.call = SimpleNamespace(**{name: self._counted(name, getattr(self.call, name)) for name in FUNCTIONS})

    def _counted(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            self.calls[name] += 1
            if name == "ReleaseValue" and arguments[0]:
                self.released_tensors.append(arguments[0])
            made_at, count = 0, 0
            if name in {"Run", "RunShort"}:
                count, made_at = arguments[6:]
            elif name in {"CreateTensorAsOrtValue", "CreateTensorWithDataAsOrtValue"}:
                count, made_at = 1, arguments[-1]
            before = list((ctypes.c_size_t * count).from_address(made_at))
            result = function(*arguments)
            after = (ctypes.c_size_t * count).from_address(made_at)
            self.made_tensors += [new for old, new in zip(before, after, strict=True) if new and not old]
            return result

        return call


@pytest.fixture
def api() -> CountingApi:
    return CountingApi()


MANY = 20_000
"""Elements of a tensor that does not stay between runs."""


def session_of(api: OrtApi, name: str = "classify", **setup: Any) -> OrtSession:
    return OrtSession(api, tiny.FILES / f"{name}.onnx", EngineSetup("onnxruntime", **setup))


def threads() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


def test_each_function_is_used_and_does_what_it_is_for(api: CountingApi, monkeypatch: pytest.MonkeyPatch) -> None:
    assert api.version == version_of("onnxruntime")
    assert "CPUExecutionProvider" in api.providers()
    session = session_of(api, has_arena=True)
    assert (tuple(session.inputs), tuple(session.outputs)) == (tiny.INPUTS, tiny.OUTPUTS)
    monkeypatch.setattr(session_module, "SHORT_RUN_S", math.inf)
    for _ in range(2):  # the second one is known to be short
        answer = session.run({"x": tiny.GOLDEN}, shrinks=True)["probabilities"]
    np.testing.assert_allclose(answer, tiny.probabilities(tiny.GOLDEN), atol=1e-6)
    greet = session_of(api, "greet")
    names = bytes_array(["Zoé".encode(), b"a\0b"]).reshape(1, 2)
    assert greet.run({"name": names}, shrinks=False)["greeted"].tolist() == tiny.greetings(names).tolist()
    with pytest.raises(OrtError, match="invalid dimensions"):
        session.run({"x": np.zeros((1, 9), np.float32)}, shrinks=False)
    del session, greet, answer
    assert set(api.calls) == set(FUNCTIONS)


def test_only_runs_that_were_short_keep_pythons_lock(
    api: CountingApi, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    session, sizes = OrtSession(api, echo_model(tmp_path / "m", "FP32", 1), EngineSetup("onnxruntime")), (3, 3, 2, 4, 4)

    def kept(sizes: tuple[int, ...]) -> list[bool]:
        before, found = api.calls["RunShort"], []
        for size in sizes:
            session.run({"x": np.zeros(size, np.float32)}, shrinks=False)
            found.append(api.calls["RunShort"] > before)
            before = api.calls["RunShort"]
        return found

    monkeypatch.setattr(session_module, "SHORT_RUN_S", 0.0)
    assert kept(sizes) == [False] * 5
    monkeypatch.setattr(session_module, "SHORT_RUN_S", math.inf)
    assert kept(sizes) == [False, True, True, False, True]
    monkeypatch.setattr(session_module, "SHORT_RUN_S", 0.0)
    assert kept((4, 4, 3, 2, 2)) == [True, False, True, True, False]


def test_runs_of_texts_never_keep_it_as_their_length_is_not_that_of_their_array(
    api: CountingApi, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(session_module, "SHORT_RUN_S", math.inf)
    session = OrtSession(api, echo_model(tmp_path / "m", "BYTES", 1), EngineSetup("onnxruntime"))
    for _ in range(3):
        session.run({"x": bytes_array([b"a"])}, shrinks=False)
    assert (api.calls["Run"], api.calls["RunShort"]) == (3, 0)


def test_what_is_made_is_released_once(api: CountingApi, tmp_path: Path) -> None:
    session, runs = OrtSession(api, echo_model(tmp_path / "m", "FP32", 1), EngineSetup("onnxruntime")), 0
    for size in (3, 3, 4, MANY, MANY, 3, 0, 3):
        session.run({"x": np.zeros(size, np.float32)}, shrinks=False)
        runs += 1
    with pytest.raises(OrtError):
        session.run({"x": np.zeros((1, 2), np.float32)}, shrinks=False)
    answer = session.run({"x": np.ones(MANY, np.float32)}, shrinks=False)["y"]
    session.run({"x": np.zeros(3, np.float32)}, shrinks=False)  # whose tensors stay until the session ends
    calls = api.calls
    del session
    assert (calls["ReleaseSession"], calls["ReleaseRunOptions"], calls["ReleaseSessionOptions"]) == (1, 1, 1)
    assert calls["ReleaseTypeInfo"] == 2
    part, before = answer[1:3], calls["ReleaseValue"]
    del answer
    assert (part.tolist(), calls["ReleaseValue"]) == ([1, 1], before)
    del part
    assert calls["ReleaseValue"] == before + 1, "with the last array that shows it"
    assert len(api.made_tensors) > runs
    assert sorted(api.made_tensors) == sorted(api.released_tensors)


def test_threads_are_as_many_as_were_asked_for(api: CountingApi) -> None:
    before, session = threads(), session_of(api, threads=4)
    assert threads() - before == 3, "the one that calls is the fourth"
    del session
    assert threads() == before


def test_an_arena_is_there_only_where_it_was_asked_for(api: CountingApi) -> None:
    session_of(api, has_arena=True).run({"x": tiny.GOLDEN}, shrinks=True)
    with pytest.raises(OrtError, match="arena"):
        session_of(api).run({"x": tiny.GOLDEN}, shrinks=True)


def test_an_entry_reaches_the_session(api: CountingApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shoal_agent.engines.ort_session.SESSION_ENTRIES", {"session.load_model_format": "ORT"})
    with pytest.raises(EngineError, match="ORT model verification"):  # the file is none of that format
        session_of(api)


@pytest.mark.parametrize(("level", "is_silent"), [(0, False), (4, True)])
def test_a_session_says_no_more_than_its_level(
    api: CountingApi, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], level: int, is_silent: bool
) -> None:
    monkeypatch.setattr("shoal_agent.engines.ort_session.LOG_FATAL_ONLY", level)
    session_of(api)
    assert (capfd.readouterr().err == "") is is_silent


def test_the_package_is_not_imported() -> None:
    program = (
        "import sys\n"
        "from shoal_agent.engines.onnx_engine import OnnxEngine\n"
        "from shoal_agent.engines.onnx_session import built_providers\n"
        "from tests.fixtures import tiny\n"
        "engine = OnnxEngine(tiny.FILES / 'classify.onnx', tiny.INPUTS, tiny.OUTPUTS)\n"
        "assert engine.infer({'x': tiny.GOLDEN})['probabilities'].shape == (2, 3)\n"
        "assert 'CPUExecutionProvider' in built_providers()\n"
        "assert 'onnxruntime' not in sys.modules\n"
    )
    environ = {"PYTHONPATH": os.pathsep.join(sys.path), "PATH": os.environ["PATH"]}
    subprocess.run([sys.executable, "-c", program], check=True, env=environ)


@pytest.mark.parametrize("problem", ["absent", "no library", "another library", "too old", "for a GPU"])
def test_the_binding_is_used_where_the_library_can_not_be(
    problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_library = tmp_path / "libonnxruntime.so.1"
    no_library.write_bytes(b"nothing")
    paths = {"absent": None, "no library": no_library, "another library": Path(ctypes.util.find_library("c") or "")}
    if problem in paths:
        monkeypatch.setattr(module, "library_path", lambda: paths[problem])
    if problem == "too old":
        monkeypatch.setattr(module, "API_VERSION", 10_000)
    if problem == "for a GPU":
        monkeypatch.setattr(OrtApi, "providers", lambda _self: ("CUDAExecutionProvider", "CPUExecutionProvider"))
    monkeypatch.setattr("shoal_agent.engines.onnx_session.installed_api", installed_api.__wrapped__)
    assert installed_api.__wrapped__() is None
    assert "CPUExecutionProvider" in built_providers()


def test_the_library_is_found_beside_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "runtime_without").mkdir()
    folder = tmp_path / "runtime_with" / "capi"
    folder.mkdir(parents=True)
    for package in ("runtime_with", "runtime_without"):
        (tmp_path / package / "__init__.py").write_text("raise ImportError('it was imported')")
    (folder / "libonnxruntime.so.9").touch()
    assert library_path("runtime_with") == folder / "libonnxruntime.so.9"
    assert library_path("runtime_without") is None
    assert library_path("runtime_absent") is None
