"""Sessions of ONNX Runtime do the same over its C API and over its Python binding."""

import gc
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from tests.fixtures import tiny
from tests.fixtures.onnx_models import (
    echo_model,
    passing_model,
    positions_model,
    reshape_model,
    sequence_model,
    slow_to_open_model,
    values_of,
)

from shoal_agent.engines import EngineError, EngineSetup
from shoal_agent.engines.onnx_binding import BoundSession
from shoal_agent.engines.onnx_options import OnnxOptions
from shoal_agent.engines.onnx_session import OnnxSession
from shoal_agent.engines.ort_api import installed_api
from shoal_agent.engines.ort_session import OrtSession
from shoal_contract.manifest import Datatype

Open = Callable[..., OnnxSession]
PLAIN = EngineSetup("onnxruntime")
MANY = 20_000
"""Elements of a tensor that is not copied on its way in, whatever its datatype."""


def open_over_c_api(path: Path, setup: EngineSetup = PLAIN) -> OnnxSession:
    api = installed_api()
    assert api is not None
    return OrtSession(api, path, setup)


def open_over_binding(path: Path, setup: EngineSetup = PLAIN) -> OnnxSession:
    return BoundSession(path, OnnxOptions(setup))


@pytest.fixture(params=[open_over_c_api, open_over_binding])
def open_session(request: pytest.FixtureRequest) -> Open:
    opens: Open = request.param
    return opens


def echo(session: OnnxSession, x: object) -> np.ndarray:
    return session.run({"x": x}, shrinks=False)["y"]  # type: ignore[dict-item]


@pytest.mark.parametrize("datatype", get_args(Datatype))
@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3), (MANY,)])
def test_every_datatype_goes_in_and_comes_out(
    open_session: Open, tmp_path: Path, datatype: Datatype, shape: tuple[int, ...]
) -> None:
    session = open_session(echo_model(tmp_path / "m", datatype, len(shape)))
    assert (session.inputs[0].datatype, session.inputs[0].shape) == (datatype, (-1,) * len(shape))
    values = values_of(datatype, shape)
    for _ in range(2):  # the second time by what the first one has left
        answer = echo(session, values)
        assert (answer.dtype, answer.shape) == (values.dtype, shape)
        np.testing.assert_array_equal(answer, values)


@pytest.mark.parametrize("size", [6, MANY])
def test_an_array_is_read_as_it_is_seen_wherever_it_lies(open_session: Open, tmp_path: Path, size: int) -> None:
    session = open_session(echo_model(tmp_path / "m", "FP32", 2))
    whole = np.arange(2 * size * 4, dtype=np.float32).reshape(2 * size, 4)
    read_only = np.frombuffer(whole.tobytes(), np.float32).reshape(whole.shape)
    for array in (whole, whole[::2], whole[::-1, 1:3], whole.T, np.asfortranarray(whole), read_only):
        np.testing.assert_array_equal(echo(session, array), array)


@pytest.mark.parametrize("sizes", [(3, 3, 5, 3, MANY, 3), (MANY, MANY, 1)])
def test_no_answer_changes_with_the_next_request(open_session: Open, tmp_path: Path, sizes: tuple[int, ...]) -> None:
    session = open_session(echo_model(tmp_path / "m", "INT32", 1))
    asked = [np.full(size, turn, np.int32) for turn, size in enumerate(sizes)]
    answers = [echo(session, array) for array in asked]
    for array, answer in zip(asked, answers, strict=True):
        np.testing.assert_array_equal(answer, array)
        assert answer.flags.writeable


def test_an_output_may_have_another_size_for_an_input_of_the_same(
    open_session: Open, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    session = open_session(positions_model(tmp_path / "m"))
    for values in ([1, 0, 1], [1, 0, 1], [0, 1, 1], [0, 0, 1], [0, 0, 0], [1, 1, 1], [1, 0, 1]):
        x = np.array(values, np.float32)
        np.testing.assert_array_equal(echo(session, x), np.flatnonzero(x)[None])
    assert capfd.readouterr().err == ""


def test_an_output_may_have_another_shape_of_as_many_elements(open_session: Open, tmp_path: Path) -> None:
    session = open_session(reshape_model(tmp_path / "m"))
    for turn, shape in enumerate([(4, 6), (4, 6), (6, 4), (1, 24), (1, 24), (4, 6)]):
        x = np.full((4, 6), turn, np.float32)
        answer = session.run({"x": x, "shape": np.array(shape)}, shrinks=False)["y"]
        np.testing.assert_array_equal(answer, x.reshape(shape))


@pytest.mark.parametrize("setup", [PLAIN, EngineSetup("onnxruntime", has_arena=True)])
def test_an_answer_outlives_its_session(open_session: Open, tmp_path: Path, setup: EngineSetup) -> None:
    session = open_session(echo_model(tmp_path / "m", "FP64", 1), setup)
    kept = [echo(session, np.full(size, 7.25)) for size in (1, 100, MANY)]
    del session
    gc.collect()
    [np.zeros(size) for size in (1, 100, MANY) for _ in range(50)]  # would take memory that had been freed
    assert all((answer == 7.25).all() for answer in kept)


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((1, 4), np.float64),
        np.zeros((1, 4), np.float32).astype(">f4"),
        np.zeros((1, 5), np.float32),
        np.zeros((1, 1, 4), np.float32),
        np.zeros((1, 4), "datetime64[s]"),
        np.zeros((1, 4), "S3"),
        np.array([[b"a"] * 4], dtype=np.object_),
    ],
)
def test_a_wrong_array_is_an_error_and_the_next_right_one_an_answer(open_session: Open, wrong: np.ndarray) -> None:
    session = open_session(tiny.FILES / "classify.onnx")
    for _ in range(2):
        if wrong.dtype.byteorder == ">" and isinstance(session, BoundSession):
            continue  # the binding turns it round
        with pytest.raises(Exception, match=r"(?i)expected|invalid|type"):
            session.run({"x": wrong}, shrinks=False)
        answer = session.run({"x": tiny.GOLDEN}, shrinks=False)["probabilities"]
        np.testing.assert_allclose(answer, tiny.probabilities(tiny.GOLDEN), atol=1e-6)


@pytest.mark.parametrize("names", [(), ("y",), ("x", "y")])
def test_missing_and_surplus_inputs_are_named(open_session: Open, names: tuple[str, ...]) -> None:
    session = open_session(tiny.FILES / "classify.onnx")
    with pytest.raises(Exception, match=r"(?i)missing|expected|invalid"):
        session.run(dict.fromkeys(names, tiny.GOLDEN), shrinks=False)


def test_an_output_of_another_kind_is_refused_as_it_is_opened(open_session: Open, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="tensor 'y' is "):
        open_session(sequence_model(tmp_path / "m"))


def test_threads_get_their_own_answers_of_any_size(open_session: Open, tmp_path: Path) -> None:
    session = open_session(echo_model(tmp_path / "m", "INT64", 1))

    def ask(turn: int) -> bool:
        values = np.full((turn * 1777) % MANY, turn)
        return bool((echo(session, values) == values).all())

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(ask, range(400)))


def test_others_go_on_while_a_model_is_opened(tmp_path: Path) -> None:
    """Over the binding none of these turns passes."""
    path, turns, has_ended = slow_to_open_model(tmp_path / "m"), 0, threading.Event()

    def open_model() -> None:
        open_over_c_api(path)
        has_ended.set()

    opening = threading.Thread(target=open_model)
    opening.start()
    while not has_ended.wait(0.001):
        turns += 1
    opening.join()
    assert turns >= 20


def test_an_input_that_comes_out_as_it_went_in_is_not_the_asker_s_memory(open_session: Open, tmp_path: Path) -> None:
    session = open_session(passing_model(tmp_path / "m"))
    x = np.arange(MANY, dtype=np.float32)
    answer = session.run({"x": x}, shrinks=False)
    assert not np.shares_memory(answer["x"], x)
    assert answer["x"].ctypes.data != x.ctypes.data
    x[:] = -1
    np.testing.assert_array_equal(answer["x"], np.arange(MANY, dtype=np.float32))
