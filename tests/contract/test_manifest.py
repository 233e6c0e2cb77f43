"""The version manifest: tensors, histograms and variants that do not add up are refused."""

import base64
import itertools
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from tests.contract.golden_messages import manifest

from shoal_contract.errors import MessageError
from shoal_contract.limits import MAX_GENERATED_BYTES, MAX_MANIFEST_BYTES, MAX_TENSOR_BYTES
from shoal_contract.manifest import (
    DATATYPE_BYTES,
    Datatype,
    FeatureBaseline,
    GeneratedTensor,
    SampledTensor,
    TensorData,
    VersionManifest,
)
from shoal_contract.wire import parse_message

SHAPES = st.lists(st.integers(0, 4), max_size=4).map(tuple)


def _read(change: Any) -> VersionManifest:
    document = json.loads(manifest().to_bytes())
    change(document)
    return parse_message(VersionManifest, json.dumps(document).encode(), MAX_MANIFEST_BYTES)


@given(st.sampled_from(sorted(DATATYPE_BYTES)), SHAPES, st.integers(-8, 8))
def test_a_tensor_holds_exactly_as_many_bytes_as_shape_and_datatype_say(
    datatype: Datatype, shape: tuple[int, ...], excess: int
) -> None:
    expected = math.prod(shape) * DATATYPE_BYTES[datatype]
    elements = bytes(max(0, expected + excess))
    data = base64.b64encode(elements).decode()
    if len(elements) == expected:
        assert TensorData(datatype=datatype, shape=shape, data=data).to_bytes() == elements
    else:
        with pytest.raises(ValidationError, match=f"has {len(elements)} bytes, expected {expected}"):
            TensorData(datatype=datatype, shape=shape, data=data)


def test_a_baseline_whose_features_counted_other_rows_or_share_an_edge_is_told() -> None:
    baseline = manifest().baseline
    assert baseline.disagreement == ""
    none = [one.model_copy(update={"counts": (0,) * len(one.counts)}) for one in baseline.features]
    empty = baseline.model_copy(update={"features": tuple(none), "missing": (0,) * len(none)})
    assert "no rows" in empty.disagreement
    one = FeatureBaseline(name="one", edges=(0.5,), counts=(3, 4), missing=0)

    def of(**changes: Any) -> str:
        other = one.model_copy(update={"name": "other"} | changes)
        return baseline.model_copy(update={"features": (one, other)}).disagreement

    assert of() == ""
    assert "other has counted 9 rows and one 7" in of(missing=2)
    assert of(missing=None, counts=(2, 2)) == "", "an older one says it by what its counts fall short of"
    assert "other: edges" in of(edges=(0.1, 0.1 + 1e-12), counts=(3, 4, 0)), "as float32 they are one"
    assert "other: edges" in of(edges=(1e300,))


@pytest.mark.parametrize("data", ["A", "AAA", "AAAA\n", "AA-_", "AAÄA", "AAAAA==="])
def test_a_tensor_that_is_not_base64_is_refused(data: str) -> None:
    with pytest.raises(MessageError, match=r"base64|ASCII|bytes"):
        _read(lambda document: document["golden_inputs"]["image"].update(data=data, shape=[3]))


def test_a_tensor_of_an_absurd_shape_is_refused_without_being_made() -> None:
    with pytest.raises(MessageError, match="tensor of shape"):
        _read(lambda document: document["golden_inputs"]["image"].update(shape=[2**62] * 8))


def test_a_golden_tensor_over_the_bound_is_refused() -> None:
    elements = MAX_TENSOR_BYTES + 16
    data = base64.b64encode(bytes(elements)).decode()
    with pytest.raises(ValidationError, match="at most"):
        TensorData(datatype="UINT8", shape=(elements,), data=data)
    fits = base64.b64encode(bytes(MAX_TENSOR_BYTES)).decode()
    assert len(TensorData(datatype="UINT8", shape=(MAX_TENSOR_BYTES,), data=fits).to_bytes()) == MAX_TENSOR_BYTES


@given(
    st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=6),
    st.lists(st.integers(0, 9), min_size=1, max_size=8),
)
def test_a_baseline_has_increasing_edges_and_one_more_count(edges: list[float], counts: list[int]) -> None:
    is_increasing = all(left < right for left, right in itertools.pairwise(edges))
    if is_increasing and len(counts) == len(edges) + 1:
        assert FeatureBaseline(name="x", edges=tuple(edges), counts=tuple(counts)).counts == tuple(counts)
    else:
        with pytest.raises(ValidationError, match=r"expected one more|strictly increasing"):
            FeatureBaseline(name="x", edges=tuple(edges), counts=tuple(counts))


@pytest.mark.parametrize("edges", [[1.0, 1.0], [2.0, 1.0], [0.0, -0.0]])
def test_histogram_edges_that_do_not_increase_are_refused(edges: list[float]) -> None:
    def change(document: dict[str, Any]) -> None:
        document["baseline"]["features"][0].update(edges=edges, counts=[1, 1, 1])

    with pytest.raises(MessageError, match="feature pixel 0: edges must be strictly increasing"):
        _read(change)


@pytest.mark.parametrize("edge", ["NaN", "Infinity", "-Infinity"])
def test_histogram_edges_that_are_not_finite_are_refused(edge: str) -> None:
    data = manifest().to_bytes().replace(b'"edges":[0.5,8.0,15.5]', f'"edges":[0.5,8.0,{edge}]'.encode())
    assert edge.encode() in data
    with pytest.raises(MessageError, match="finite number"):
        parse_message(VersionManifest, data, MAX_MANIFEST_BYTES)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model", "Digits"),
        ("model", "../etc/passwd"),
        ("model", ".."),
        ("model", "digits\n"),
        ("model", "x" * 64),
        ("version", 0),
        ("variants", []),
        ("inputs", []),
        ("golden_inputs", {}),
        ("created_at", "2026-03-01T12:00:00"),
    ],
)
def test_a_manifest_with_an_impossible_field_is_refused(field: str, value: object) -> None:
    with pytest.raises(MessageError, match=f"reading VersionManifest: {field}"):
        _read(lambda document: document.update({field: value}))


@pytest.mark.parametrize(
    ("field", "value"),
    [("runtime", "pickle"), ("format", "pkl"), ("sha256", "0" * 63), ("size_bytes", 0), ("golden_tolerance", -0.1)],
)
def test_a_variant_that_no_device_may_run_is_refused(field: str, value: object) -> None:
    with pytest.raises(MessageError, match=rf"variants\.0\.{field}"):
        _read(lambda document: document["variants"][0].update({field: value}))


def test_the_variant_for_a_target_is_found_by_name() -> None:
    assert manifest().variant_for("pi4-litert-int8").format == "tflite"


def test_a_missing_target_names_those_that_exist() -> None:
    with pytest.raises(MessageError, match="no target 'x86'; it has pi4-litert-int8, jetson-orin-onnx-fp16"):
        manifest().variant_for("x86")


@pytest.mark.parametrize(("field", "value"), [("size_bytes", 40_337), ("size_bytes", 40_320), ("chunk_bytes", 16_384)])
def test_a_ciphertext_whose_size_or_chunks_can_not_be_of_its_file_is_refused(field: str, value: int) -> None:
    with pytest.raises(MessageError, match="ciphertext|chunk_bytes|65536"):
        _read(lambda document: document["variants"][1]["encrypted"].update({field: value}))


def test_a_device_fetches_the_ciphertext_where_there_is_one() -> None:
    plain, encrypted = manifest().variants
    assert (plain.travels_as.sha256, plain.travels_as.size_bytes) == (plain.sha256, plain.size_bytes)
    assert encrypted.encrypted is not None
    assert (encrypted.travels_as.sha256, encrypted.travels_as.size_bytes) == (encrypted.encrypted.sha256, 40_336)


def test_a_request_of_one_sample_is_not_made_by_processing() -> None:
    def change(document: dict[str, Any]) -> None:
        document["inputs"][0].update(shape=[-1, -1, -1, 3])
        document["processing"] = {"inputs": {"image": {"kind": "image", "layout": "NHWC"}}}

    def change_to_one(document: dict[str, Any]) -> None:
        change(document)
        document["batching"] = "none"

    assert _read(change).is_batched
    with pytest.raises(MessageError, match="a request of this version is one sample"):
        _read(change_to_one)


def test_only_inputs_can_be_watched() -> None:
    with pytest.raises(MessageError, match="baseline: no input sound"):
        _read(lambda document: document["baseline"].update(inputs=["image", "sound"]))


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"shape": [2**40]}, "at most"),
        ({"shape": [2**62] * 8}, "at most"),
        ({"datatype": "BYTES"}, "datatype is BYTES"),
        ({"low": 2.0}, "low 2.0 lies above high 1.0"),
        ({"seed": -1}, "greater than or equal to 0"),
        ({"high": 3.5e38}, "do not fit FP32"),
        ({"datatype": "FP16", "low": -65520.0}, "numbers from -65520.0 to 1.0 do not fit FP16, which has -65504.0"),
        ({"datatype": "FP64", "low": -1.7e308, "high": 1.7e308}, "do not fit FP64"),
        ({"datatype": "UINT8", "high": 256.0}, "numbers from 0.0 to 256.0 do not fit UINT8, which has 0 to 255"),
        ({"datatype": "UINT8", "high": 255.5}, "do not fit UINT8"),
        ({"datatype": "UINT32", "low": -1.0}, "do not fit UINT32"),
        ({"datatype": "INT8", "low": -129.0}, "do not fit INT8, which has -128 to 127"),
        ({"datatype": "INT64", "high": 2.0**63}, "do not fit INT64"),
    ],
)
def test_a_golden_input_that_no_device_should_make_is_refused(change: dict[str, Any], found: str) -> None:
    plain = {"datatype": "FP32", "shape": [2, 2], "seed": 1, "low": 0.0, "high": 1.0}
    assert GeneratedTensor.model_validate(plain).shape == (2, 2)
    with pytest.raises(ValidationError, match=found):
        GeneratedTensor.model_validate(plain | change)


@pytest.mark.parametrize(
    ("change", "found"),
    [({"shape": [2**40]}, "at most"), ({"step": 0}, "greater than"), ({"step": 3}, "has 8 bytes, expected 4")],
)
def test_a_golden_output_whose_elements_are_not_as_many_as_it_says_is_refused(
    change: dict[str, Any], found: str
) -> None:
    plain = {"datatype": "FP32", "shape": [1, 3], "step": 2, "data": "AACAPwAAAAA="}
    assert SampledTensor.model_validate(plain).elements().shape == (2,)
    with pytest.raises(ValidationError, match=found):
        SampledTensor.model_validate(plain | change)


def test_more_golden_input_than_a_device_can_make_is_refused() -> None:
    def change(document: dict[str, Any]) -> None:
        made = {"datatype": "UINT8", "shape": [MAX_GENERATED_BYTES // 2], "seed": 1, "low": 0, "high": 9}
        document["golden_inputs"] = dict.fromkeys(names, made)

    names = ["a", "b"]
    assert len(_read(change).golden_inputs) == 2
    names.append("c")
    with pytest.raises(MessageError, match="golden inputs: 100663296 bytes are to be made"):
        _read(change)
