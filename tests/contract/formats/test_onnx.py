"""An ONNX file is a device file only if all of it lies in itself and standard operators run it."""

import sys
import tracemalloc
from contextlib import suppress

import onnx
import pytest
from google.protobuf.descriptor import Descriptor
from hypothesis import given
from hypothesis import strategies as st
from onnx import NodeProto, TensorProto, helper
from tests.fixtures import tiny
from tests.fixtures.hostile_files import (
    EXTERNAL_PATHS,
    external_tensor,
    hidden_tensors,
    model_of,
    onnx_that_reads,
    plain_graph,
)

from shoal_contract.formats import DEFAULT_LIMITS, RUNTIME_LIMITS, FormatError, FormatLimits, check_device_file
from shoal_contract.formats.onnx import CHILDREN

CLASSIFY = (tiny.FILES / "classify.onnx").read_bytes()
LEADS_SOMEWHERE = {"TensorProto", "NodeProto", "GraphProto"}
HIDDEN = hidden_tensors()


@pytest.mark.parametrize("location", EXTERNAL_PATHS)
def test_a_model_that_reads_another_file_is_refused_with_that_file_named(location: str) -> None:
    with pytest.raises(FormatError, match="outside of the file") as caught:
        check_device_file(onnx_that_reads(location), limits=RUNTIME_LIMITS)
    assert location in str(caught.value)
    assert "save_as_external_data=False" in caught.value.remedy


@pytest.mark.parametrize("place", HIDDEN)
def test_external_data_is_found_wherever_a_tensor_can_stand(place: str) -> None:
    with pytest.raises(FormatError, match="outside of the file"):
        check_device_file(HIDDEN[place].SerializeToString(), limits=RUNTIME_LIMITS)


def test_every_field_that_leads_to_a_node_or_tensor_is_walked() -> None:
    model = onnx.ModelProto.DESCRIPTOR
    leading = {
        message.name: {number: child.name for number, child in _children(message).items() if _leads(child, frozenset())}
        for message in _reachable(model)
    }
    for message, children in leading.items():
        if message != "TensorProto":
            assert CHILDREN.get(message, {}).items() >= children.items(), message


def _children(message: Descriptor) -> dict[int, Descriptor]:
    return {field.number: field.message_type for field in message.fields if field.message_type}


def _leads(message: Descriptor, seen: frozenset[str]) -> bool:
    if message.name in LEADS_SOMEWHERE:
        return True
    return any(_leads(child, seen | {message.name}) for child in _children(message).values() if child.name not in seen)


def _reachable(message: Descriptor) -> list[Descriptor]:
    found, waiting = {message.full_name: message}, [message]
    while waiting:
        new = [child for child in _children(waiting.pop()).values() if child.full_name not in found]
        found |= {child.full_name: child for child in new}
        waiting += new
    return list(found.values())


@given(cut=st.integers(0, len(CLASSIFY) - 1), octet=st.integers(0, 255))
def test_an_altered_file_is_taken_or_refused_and_nothing_else_happens(cut: int, octet: int) -> None:
    for data in (CLASSIFY[:cut], CLASSIFY[:cut] + bytes([octet]) + CLASSIFY[cut + 1 :]):
        with suppress(FormatError):
            check_device_file(data, "onnx")


def test_a_domain_that_needs_a_library_is_refused_unless_it_is_allowed() -> None:
    node = helper.make_node("Steal", ["x"], ["y"], domain="evil.ops")
    data = model_of(plain_graph(node), domain="evil.ops").SerializeToString()
    with pytest.raises(FormatError, match="'Steal' is of the domain 'evil.ops'"):
        check_device_file(data)
    assert check_device_file(data, limits=FormatLimits(onnx_domains=frozenset({"", "evil.ops"}))) == "onnx"


def test_a_function_of_the_file_itself_needs_no_library() -> None:
    node = helper.make_node("Twice", ["x"], ["y"], domain="own")
    model = model_of(plain_graph(node), domain="own")
    body = [helper.make_node("Add", ["a", "a"], ["b"])]
    model.functions.append(helper.make_function("own", "Twice", ["a"], ["b"], body, [helper.make_opsetid("", 17)]))
    assert check_device_file(model.SerializeToString()) == "onnx"
    model.functions[0].node[0].domain = "evil.ops"
    with pytest.raises(FormatError, match="evil.ops"):
        check_device_file(model.SerializeToString())


def test_an_operator_that_runs_a_compiled_file_is_refused_even_where_its_domain_is_allowed() -> None:
    node = helper.make_node("EPContext", ["x"], ["y"], domain="com.microsoft", ep_cache_context="/opt/engine.bin")
    data = model_of(plain_graph(node), domain="com.microsoft").SerializeToString()
    for limits in (RUNTIME_LIMITS, FormatLimits(onnx_domains=frozenset({"", "com.microsoft"}))):
        with pytest.raises(FormatError, match="EPContext"):
            check_device_file(data, limits=limits)


@pytest.mark.parametrize(
    ("key", "value"), [("ort_config", "{}"), ("custom_op_library", "x"), ("ops", "/usr/lib/libevil.so")]
)
def test_metadata_that_names_a_library_is_refused(key: str, value: str) -> None:
    model = model_of(plain_graph())
    model.metadata_props.add(key=key, value=value)
    with pytest.raises(FormatError, match="names a library"):
        check_device_file(model.SerializeToString())


@pytest.mark.parametrize("dims", [[2**40], [2**32, 2**32, 2**32], [-1], [5_000_000, 4]])
def test_a_tensor_that_declares_more_than_allowed_is_refused_before_memory_is_spent(dims: list[int]) -> None:
    tensor = TensorProto(name="huge", data_type=TensorProto.FLOAT, dims=dims, raw_data=b"\0" * 4)
    data = model_of(plain_graph(initializers=(tensor,))).SerializeToString()
    with pytest.raises(FormatError, match="'huge' declares"):
        check_device_file(data)


def test_a_list_of_dimensions_without_end_is_refused_before_it_is_read() -> None:
    tensor = b"\x0a" + _length(b"\x01" * 8_000_000) + b"\x10\x01"
    graph = b"\x2a" + _length(tensor)
    tracemalloc.start()
    with pytest.raises(FormatError, match="more than 64 dimensions"):
        check_device_file(b"\x08\x08\x3a" + _length(graph))
    assert tracemalloc.get_traced_memory()[1] < 40_000_000, "the file and its parts, no list of numbers"
    tracemalloc.stop()


@pytest.mark.parametrize("limits", [DEFAULT_LIMITS, RUNTIME_LIMITS], ids=["hub", "device"])
def test_an_operator_that_runs_a_compiled_file_can_not_hide_behind_a_function_of_its_name(
    limits: FormatLimits,
) -> None:
    node = helper.make_node("EPContext", ["x"], ["y"], domain="com.microsoft", ep_cache_context="/opt/engine.bin")
    model = model_of(plain_graph(node), domain="com.microsoft")
    body = [helper.make_node("Identity", ["a"], ["b"])]
    opsets = [helper.make_opsetid("", 17)]
    model.functions.append(helper.make_function("com.microsoft", "EPContext", ["a"], ["b"], body, opsets))
    with pytest.raises(FormatError, match="EPContext"):
        check_device_file(model.SerializeToString(), limits=limits)


def test_a_bound_on_tensors_is_a_setting() -> None:
    with pytest.raises(FormatError, match="at most 8 bytes are allowed"):
        check_device_file(CLASSIFY, limits=FormatLimits(max_tensor_bytes=8))


def test_graphs_without_end_are_refused() -> None:
    graph = b""
    for _ in range(200):
        attribute = b"\x32" + _length(graph)
        graph = b"\x0a" + _length(b"\x2a" + _length(attribute))
    with pytest.raises(FormatError, match="nested"):
        check_device_file(b"\x08\x08\x3a" + _length(graph))


def test_a_million_fields_are_refused_in_bounded_time() -> None:
    with pytest.raises(FormatError, match="1000000 fields"):
        check_device_file(b"\x08\x08" * 1_000_001)


@pytest.mark.parametrize(
    "data", [b"\x08\x08", b"\x3a\x00", b"\x0b\x08\x08\x3a\x00", b"\x00\x01", b"\x08" + b"\xff" * 11, b"\x3a\x7f"]
)
def test_bytes_that_are_no_model_are_refused(data: bytes) -> None:
    with pytest.raises(FormatError, match="no ONNX file"):
        check_device_file(data)


def test_a_field_of_the_wrong_kind_is_not_passed_over() -> None:
    tensor = external_tensor("/etc/passwd")
    del tensor.external_data[:]
    assert tensor.SerializeToString().endswith(b"\x70\x01")
    with pytest.raises(FormatError, match="outside of the file"):
        check_device_file(model_of(plain_graph(initializers=(tensor,))).SerializeToString())
    with pytest.raises(FormatError, match="wire type"):
        check_device_file(b"\x08\x08\x38\x01")


def test_a_node_has_the_last_of_two_domains_as_the_runtime_reads_it() -> None:
    node = NodeProto(op_type="Relu", input=["x"], output=["y"], domain="").SerializeToString()
    twice = node + b"\x3a\x08evil.ops"
    graph = b"\x0a" + _length(twice)
    with pytest.raises(FormatError, match="evil.ops"):
        check_device_file(b"\x08\x08\x3a" + _length(graph))
    assert onnx.NodeProto.FromString(twice).domain == "evil.ops"


def test_the_check_copies_no_tensor() -> None:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1_000_000], raw_data=b"\0" * 4_000_000)
    data = model_of(plain_graph(initializers=(tensor,))).SerializeToString()
    import tracemalloc

    tracemalloc.start()
    check_device_file(data)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 100_000
    assert sys.getsizeof(data) > 4_000_000


def _length(data: bytes) -> bytes:
    size, head = len(data), bytearray()
    while size > 0x7F:
        head.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes([*head, size]) + data
