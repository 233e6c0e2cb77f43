"""What a file is, its content says; what could run code while it opens is refused with the reason."""

import gzip
import io
import json
import pickle
import struct
import time
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save
from tests.fixtures import tiny
from tests.fixtures.hostile_files import litert_with

from shoal_contract.formats import RUNTIME_LIMITS, FormatError, FormatLimits, check_device_file

TFLITE = (tiny.FILES / "classify.tflite").read_bytes()
SAFETENSORS = save({"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.zeros(2, dtype=np.int8)})


def zip_of(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "expected"),
    [((tiny.FILES / "pair.onnx").read_bytes(), "onnx"), (TFLITE, "tflite"), (SAFETENSORS, "safetensors")],
)
def test_the_three_formats_are_known_by_their_content(data: bytes, expected: str) -> None:
    assert check_device_file(data) == expected


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        *((pickle.dumps({"w": 1}, protocol=protocol), "pickle, which is code") for protocol in range(2, 6)),
        (pickle.dumps({"w": 1}, protocol=0), "no ONNX file"),
        (zip_of("archive/data.pkl"), "PyTorch archive, which holds a pickle"),
        (zip_of("metadata.json", "config.json"), "for the hub, not for devices"),
        (zip_of("x.npy"), "NumPy archive"),
        (gzip.compress(b"x", mtime=0), "joblib"),
        (b"\x93NUMPY\x01\x00", "pickled objects"),
        (b"\x89HDF\r\n\x1a\n" + b"\0" * 64, "HDF5"),
        (b"\x7fELF" + b"\0" * 64, "a program"),
        (b"\x18\0\0\0ORTM" + b"\0" * 64, "own format"),
        (b"", "empty"),
        (b"\0" * 4096, "no ONNX file"),
    ],
)
def test_what_is_none_of_them_is_refused_with_reason_and_remedy(data: bytes, reason: str) -> None:
    with pytest.raises(FormatError, match=reason) as caught:
        check_device_file(data)
    assert caught.value.remedy


def test_the_expected_format_is_held_to() -> None:
    with pytest.raises(FormatError, match="format tflite, expected the format onnx"):
        check_device_file(TFLITE, "onnx")


@given(st.binary(max_size=300))
def test_no_bytes_do_anything_but_pass_or_be_refused(data: bytes) -> None:
    for start in (b"", b"\x1c\0\0\0TFL3", struct.pack("<Q", 2) + b"{"):
        with suppress(FormatError):
            check_device_file(start + data)


@given(place=st.integers(0, len(TFLITE) - 1), octet=st.integers(0, 255))
def test_an_altered_litert_file_is_taken_or_refused(place: int, octet: int) -> None:
    for data in (TFLITE[:place], TFLITE[:place] + bytes([octet]) + TFLITE[place + 1 :]):
        with suppress(FormatError):
            check_device_file(data, "tflite")


@pytest.mark.parametrize("name", ["FlexAdd", "MyOp"])
def test_a_custom_litert_operator_is_refused_unless_it_is_allowed(name: str) -> None:
    with pytest.raises(FormatError, match=f"'{name}', a "):
        check_device_file(litert_with(custom_op=name))
    allowed = FormatLimits(litert_custom_ops=frozenset({"MyOp"}))
    assert name != "MyOp" or check_device_file(litert_with(custom_op=name), limits=allowed) == "tflite"


def test_a_litert_file_whose_tensors_lie_elsewhere_is_refused() -> None:
    assert check_device_file(litert_with()) == "tflite"
    with pytest.raises(FormatError, match="outside of the file"):
        check_device_file(litert_with(external=True), limits=RUNTIME_LIMITS)


def test_a_litert_tensor_that_is_too_large_is_refused() -> None:
    with pytest.raises(FormatError, match="declares"):
        check_device_file(litert_with(shape=(1 << 20, 1 << 20)))


def header_of(**tensors: object) -> bytes:
    text = json.dumps(tensors).encode()
    return struct.pack("<Q", len(text)) + text


@pytest.mark.parametrize(
    "data",
    [
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 20) + b"{}",
        header_of(a={"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}),
        header_of(a={"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}) + b"\0" * 12,
        header_of(a={"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}) + b"\0" * 9,
        header_of(a={"dtype": "F32", "shape": [2**40], "data_offsets": [0, 8]}) + b"\0" * 8,
        header_of(a={"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}) + b"\0" * 8,
        header_of(a={"dtype": "O", "shape": [1], "data_offsets": [0, 8]}) + b"\0" * 8,
        header_of(
            a={"dtype": "U8", "shape": [4], "data_offsets": [0, 4]},
            b={"dtype": "U8", "shape": [4], "data_offsets": [2, 6]},
        )
        + b"\0" * 6,
        struct.pack("<Q", 100_000) + b'{"a":' + b"[" * 99_995,
    ],
)
def test_a_safetensors_header_that_lies_is_refused(data: bytes) -> None:
    with pytest.raises(FormatError):
        check_device_file(data)


@pytest.mark.parametrize("shape", [[2**63 - 1] * 100_000, [10**4000] * 900, [1] * 65, [0] * 100_000, [2**63, 0]])
def test_a_shape_that_is_costly_to_multiply_is_refused_at_once(shape: list[int]) -> None:
    data = header_of(a={"dtype": "F32", "shape": shape, "data_offsets": [0, 4]}) + b"\0" * 4
    began_s = time.process_time()
    with pytest.raises(FormatError):
        check_device_file(data)
    assert time.process_time() - began_s < 2, "the product of the first would take minutes"


@pytest.mark.parametrize("shape", [(1,) * 65, (-2, 4)])
def test_a_litert_tensor_of_an_impossible_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(FormatError, match="declares"):
        check_device_file(litert_with(shape=shape))


def test_a_file_may_be_mapped_instead_of_read(tmp_path: Path) -> None:
    import mmap

    path = tmp_path / "model"
    path.write_bytes(TFLITE)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        assert check_device_file(data) == "tflite"
