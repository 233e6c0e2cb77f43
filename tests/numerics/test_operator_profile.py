"""Operators out of what ONNX Runtime's profiler writes: shapes, multiplications, times, and what is no profile."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_contract.operator_profile import MAX_OPERATOR_KINDS, MAX_OPERATORS
from shoal_numerics.errors import ProfileError
from shoal_numerics.operator_profile import Operator, from_wire, operators_of, read_events, read_profile, to_wire

names = st.text(st.characters(codec="ascii", exclude_categories=("C", "Z")), min_size=1, max_size=20)
figures = st.integers(0, 10**15)
operators = st.builds(Operator, st.sampled_from(["Conv/2d dense", "MatMul", "Add"]), names, *[figures] * 4)


def event(op: str, inputs: list[Any], outputs: list[Any], node: int = 0, dur: Any = 5) -> dict[str, Any]:
    args = {"op_name": op, "node_index": str(node), "input_type_shape": inputs, "output_type_shape": outputs}
    return {"cat": "Node", "name": f"{op}_{node}_kernel_time", "dur": dur, "args": args}


def text(*events: Any) -> str:
    return json.dumps([{"cat": "Session", "name": "model_loading"}, *events])


def floats(*shapes: list[int]) -> list[Any]:
    return [{"float": shape} for shape in shapes]


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (
            event("FusedConv", floats([1, 3, 8, 8], [16, 3, 3, 3], [16]), floats([1, 16, 8, 8])),
            Operator("FusedConv/2d dense", "float", 1024 * 27, 4 * (192 + 432 + 16), 4096, 1024),
        ),
        (
            event("Conv", floats([1, 16, 8], [16, 1, 3]), floats([1, 16, 8])),
            Operator("Conv/1d depthwise", "float", 128 * 3, 4 * (128 + 48), 512, 128),
        ),
        (
            event("Conv", floats([1, 16, 8, 8], [4, 16, 1, 1]), floats([1, 4, 8, 8])),
            Operator("Conv/2d pointwise", "float", 256 * 16, 4 * (1024 + 64), 1024, 256),
        ),
        (
            event("MatMul", floats([1, 49, 64], [64, 32]), floats([1, 49, 32])),
            Operator("MatMul", "float", 49 * 32 * 64, 4 * (3136 + 2048), 6272, 1568),
        ),
        (
            event(
                "QLinearConv",
                [
                    {"uint8": [1, 4, 4, 4]},
                    {"float": []},
                    {"uint8": []},
                    {"uint8": [8, 4, 3, 3]},
                    {"float": []},
                    {"uint8": []},
                ],
                [{"uint8": [1, 8, 4, 4]}],
            ),
            Operator("QLinearConv/2d dense", "uint8", 128 * 36, 64 + 4 + 1 + 288 + 4 + 1, 128, 128),
        ),
        (event("Relu", floats([2, 5]), floats([2, 5])), Operator("Relu", "float", 0, 40, 40, 10)),
        (event("Constant", [], floats([3])), Operator("Constant", "", 0, 0, 12, 3)),
        (event("Shape", [{"float8": [5]}], []), Operator("Shape", "float8", 0, 20, 0, 0)),
    ],
)
def test_an_event_says_what_its_operator_does(told: dict[str, Any], expected: Operator) -> None:
    assert operators_of(read_events(text(told))) == (expected,)


def test_times_are_the_low_ones_after_the_warm_up_and_shapes_those_of_the_other_session() -> None:
    timed = [event("MatMul", floats([1, 4]), floats([1, 3]), 0, dur) for dur in (900, 10, 12, 14)]
    timed += [event("Softmax", floats([1, 3]), floats([1, 3]), 1, dur) for dur in (500, 1, 1, 1)]
    shapes = [event("MatMul", floats([1, 4], [4, 3]), floats([1, 3])), event("Softmax", floats([1, 3]), [], 1)]
    found, times_us = read_profile(read_events(text(*timed)), read_events(text(*shapes)), 1)
    assert (found[0].macs, found[1].kind) == (12, "Softmax")
    assert times_us == (pytest.approx(10.4), 1.0)


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("", "JSONDecodeError"),
        ("{}", "tells of no operator"),
        ("[]", "tells of no operator"),
        ("[1]", "AttributeError"),
        ('[{"cat": "Node"}]', "KeyError"),
        ('[{"cat": "Node", "name": "x_kernel_time"}]', "KeyError"),
        ('[{"cat": "Node", "name": 5}]', "AttributeError"),
    ],
)
def test_what_is_no_profile_is_refused(written: str, says: str) -> None:
    with pytest.raises(ProfileError, match=says):
        read_events(written)


@given(
    st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(names, inner))
)
def test_whatever_the_profiler_writes_only_a_profile_error_comes_of_it(written: Any) -> None:
    told = event("MatMul", [], [])
    for place in ("dur", "args"):
        try:
            events = read_events(json.dumps([told | {place: written}]))
            read_profile(events, events, 0)
        except ProfileError:
            continue


def test_sessions_that_differ_and_runs_that_are_too_few_are_refused() -> None:
    one, other = (read_events(text(event("Relu", [], [], node))) for node in (0, 1))
    with pytest.raises(ProfileError, match="1 operators found with weights as kernels order them, 1 without"):
        read_profile(one, other, 0)
    with pytest.raises(ProfileError, match="no run after 1 of warm-up"):
        read_profile(one, one, 1)


@given(st.lists(operators, min_size=1, max_size=30))
def test_operators_come_back_from_the_wire_as_they_were(sent: list[Operator]) -> None:
    told = to_wire(sent, [0.26] * len(sent))
    assert from_wire(type(told).model_validate_json(told.model_dump_json())) == tuple(sent)
    assert set(told.times_us) == {0.3}


@pytest.mark.parametrize(
    "many",
    [
        [Operator("Add", "float", 0, 0, 0, 0)] * (MAX_OPERATORS + 1),
        [Operator(f"Op{n}", "float", 0, 0, 0, 0) for n in range(MAX_OPERATOR_KINDS + 1)],
        [Operator("x" * 200, "float", 0, 0, 0, 0)],
        [Operator("Add", "float", 10**16, 0, 0, 0)],
    ],
)
def test_more_than_a_message_has_room_for_is_refused(many: list[Operator]) -> None:
    with pytest.raises(ProfileError, match="telling the operators"):
        to_wire(many, [1.0] * len(many))
