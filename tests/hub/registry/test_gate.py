"""The gate: hostile uploads and hostile variants are refused with the reason, and nothing of them is kept."""

import io
import json
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from fastapi.testclient import TestClient
from tests.fixtures.hostile_files import EXTERNAL_PATHS, litert_with, onnx_that_reads
from tests.hub.registry.bundles import DENSE, hdf5, keras_archive, make_onnx, post_bundle, record, write_bundle

from shoal_hub.context import HubContext
from shoal_hub.errors import InvalidInputError
from shoal_hub.registry.gate import check_bundle_file, check_for_devices
from shoal_hub.registry.limits import BundleLimits
from shoal_hub.settings import Settings

LIMITS = BundleLimits()


def refusal(path: Path, data: bytes, limits: BundleLimits = LIMITS) -> str:
    path.write_bytes(data)
    with pytest.raises(InvalidInputError) as caught:
        check_bundle_file(path, limits)
    assert caught.value.remedy
    return caught.value.message


@pytest.mark.parametrize("location", EXTERNAL_PATHS)
def test_an_onnx_file_that_reads_another_file_is_not_registered(
    sqlite_client: TestClient, sqlite_hub: HubContext, tmp_path: Path, location: str
) -> None:
    folder = write_bundle(tmp_path / "bundle")
    (folder / "model.onnx").write_bytes(onnx_that_reads(location))
    description = json.loads((folder / "bundle.json").read_text())
    description["files"]["model.onnx"] = record(folder / "model.onnx")
    (folder / "bundle.json").write_text(json.dumps(description))
    response = post_bundle(sqlite_client, folder)
    assert response.status_code == 422
    assert "outside of the file" in response.json()["error"]["message"]
    assert "root:" not in response.text
    assert sqlite_client.get("/api/v1/models").json() == []
    assert not (sqlite_hub.settings.data / "artifacts").exists()


@pytest.mark.parametrize("named", [[], ["calibration.npz", "test.npz"], ["model.onnx"]])
def test_what_a_bundle_does_not_name_passes_no_gate_and_so_is_never_opened(
    sqlite_client: TestClient, tmp_path: Path, named: list[str]
) -> None:
    folder = write_bundle(tmp_path / "bundle")
    description = json.loads((folder / "bundle.json").read_text())
    description["files"] = {name: description["files"][name] for name in named}
    (folder / "bundle.json").write_text(json.dumps(description))
    response = post_bundle(sqlite_client, folder)
    assert response.status_code == 422
    assert "does not name" in response.json()["error"]["message"]
    assert sqlite_client.get("/api/v1/models").json() == []


@pytest.mark.parametrize("name", ["model.onnx", "calibration.npz"])
def test_a_bundle_without_what_it_is_measured_by_is_refused_by_name(
    sqlite_client: TestClient, tmp_path: Path, name: str
) -> None:
    folder = write_bundle(tmp_path / "bundle")
    description = json.loads((folder / "bundle.json").read_text())
    del description["files"][name]
    (folder / name).unlink()
    (folder / "bundle.json").write_text(json.dumps(description))
    message = post_bundle(sqlite_client, folder).json()["error"]["message"]
    assert name in message
    assert "/" not in message, "no path of the hub"


def test_a_variant_passes_the_same_gate_as_an_upload(tmp_path: Path) -> None:
    path = tmp_path / "colours-generic-litert-int8.tflite"
    path.write_bytes(litert_with(custom_op="FlexMatMul"))
    with pytest.raises(InvalidInputError, match="FlexMatMul"):
        check_for_devices(path, "tflite", LIMITS)
    with pytest.raises(InvalidInputError, match="expected the format onnx"):
        check_for_devices(path, "onnx", LIMITS)


def test_what_the_gate_allows_is_set_by_the_operator(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(litert_with(custom_op="TFLite_Detection_PostProcess"))
    environ = {"SHOAL_LITERT_CUSTOM_OPS": "Other, TFLite_Detection_PostProcess", "SHOAL_ONNX_DOMAINS": "com.microsoft"}
    limits = BundleLimits.of(Settings.read(environ))
    check_bundle_file(path, limits)
    assert "com.microsoft" in limits.onnx_domains
    assert BundleLimits.of(Settings()) == LIMITS


def test_an_oversize_tensor_is_refused_by_the_setting(tmp_path: Path) -> None:
    limits = BundleLimits(max_tensor_bytes=16)
    assert "declares 48 bytes" in refusal(tmp_path / "model.onnx", make_onnx(np.zeros((4, 3), np.float32)), limits)


def test_plain_layers_pass(tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    path.write_bytes(keras_archive())
    check_bundle_file(path, LIMITS)


def layer(**changes: Any) -> dict[str, Any]:
    return {"module": "keras", "class_name": "Sequential", "config": {"layers": [DENSE, DENSE | changes]}}


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (layer(class_name="Lambda"), "its layer Lambda is code"),
        (layer(config={"activation": {"class_name": "__lambda__", "config": {"value": "4wEAAAA="}}}), "is code"),
        (layer(class_name="TFSMLayer", config={"filepath": "/etc"}), "is code"),
        (layer(class_name="TorchModuleWrapper"), "is code"),
        (layer(module="keras", class_name="layers.Lambda"), "no plain name"),
        (layer(module="keras.layers", class_name="Lambda "), "no plain name"),
        (layer(module="keras.utils", class_name="get_file"), "imported from the module 'keras.utils'"),
        (layer(module="keras.config", class_name="enable_unsafe_deserialization"), "imported from the module"),
        (layer(module="keras.src.saving.saving_lib", class_name="load_model"), "imported from the module"),
        (layer(module="os", class_name="system"), "imported from the module 'os'"),
        (layer(module="builtins", class_name="exec"), "Python's builtins"),
        (layer(class_name="StringLookup", config={"vocabulary": "/etc/passwd"}), "would be read from this machine"),
    ],
)
def test_a_keras_file_with_code_is_refused(tmp_path: Path, config: object, reason: str) -> None:
    assert reason in refusal(tmp_path / "model.keras", keras_archive(config))


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("keras.src.ops.numpy", "Add"),
        ("keras.src.models.functional", "Functional"),
        ("keras.optimizers.schedules", "ExponentialDecay"),
        ("keras.dtype_policies", "DTypePolicy"),
        ("builtins", "function"),
        (None, "__keras_tensor__"),
    ],
)
def test_what_keras_writes_of_plain_models_passes(tmp_path: Path, module: str | None, name: str) -> None:
    path = tmp_path / "model.keras"
    path.write_bytes(keras_archive(layer(module=module, class_name=name)))
    check_bundle_file(path, LIMITS)


def external_link(file: Any) -> None:
    file["stolen"] = h5py.ExternalLink("/etc/passwd", "/")


def soft_link(file: Any) -> None:
    file["layers/soft"] = h5py.SoftLink("/layers")


def external_storage(file: Any) -> None:
    file.create_dataset("stolen", (16,), dtype="u1", external=[("/etc/passwd", 0, 16)])


def virtual_dataset(file: Any) -> None:
    layout = h5py.VirtualLayout(shape=(4,), dtype="f4")
    layout[:] = h5py.VirtualSource("/etc/other.h5", "x", shape=(4,))
    file.create_virtual_dataset("stolen", layout)


@pytest.mark.parametrize("fill", [external_link, soft_link, external_storage, virtual_dataset])
def test_weights_that_lie_in_another_file_are_refused(tmp_path: Path, fill: Callable[[Any], None]) -> None:
    assert "lie in another file" in refusal(tmp_path / "model.keras", keras_archive(weights=hdf5(fill)))


def test_weights_that_unpack_to_more_than_allowed_are_refused(tmp_path: Path) -> None:
    def fill(file: Any) -> None:
        file.create_dataset("zeros", (2**40,), dtype="u1", chunks=(2**20,), compression="gzip")

    assert "SHOAL_MAX_UNPACKED_BYTES" not in refusal(tmp_path / "a.keras", keras_archive(weights=b"no hdf5"))
    assert "unpack to" in refusal(tmp_path / "model.keras", keras_archive(weights=hdf5(fill)))


@pytest.mark.parametrize("name", ["/etc/cron.d/x", "../x", "assets/../../x", "assets\\..\\x", "code.py"])
def test_a_member_that_leads_out_of_the_archive_is_refused(tmp_path: Path, name: str) -> None:
    refusal(tmp_path / "model.keras", keras_archive(**{name: b"x"}))


def bomb(member: str, unpacked_bytes: int) -> bytes:
    """Return a small archive with one member of zeros that unpacks to much."""
    buffer = io.BytesIO()
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (unpacked_bytes,)})
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive, archive.open(member, "w") as file:
        file.write(header.getvalue())
        for _ in range(unpacked_bytes >> 20):
            file.write(bytes(1 << 20))
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["calibration.npz", "model.keras"])
def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, name: str) -> None:
    data = bomb("x.npy", 128 << 20)
    assert len(data) < 200_000
    path = tmp_path / name
    path.write_bytes(data)
    grown = _memory_of_refusing(path, max_unpacked_bytes=64 << 20)
    assert grown < 16 << 20


def _memory_of_refusing(path: Path, max_unpacked_bytes: int) -> int:
    """Return by how many bytes a fresh process grew while it refused the file."""
    program = (
        "import resource, sys; from pathlib import Path; from shoal_hub.errors import InvalidInputError\n"
        "from shoal_hub.registry.gate import check_bundle_file; from shoal_hub.registry.limits import BundleLimits\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024; before = peak()\n"
        "try: check_bundle_file(Path(sys.argv[1]), BundleLimits(max_unpacked_bytes=int(sys.argv[2])))\n"
        "except InvalidInputError as error: assert 'SHOAL_MAX_UNPACKED_BYTES' in str(error), error\n"
        "else: sys.exit('taken')\n"
        "print(peak() - before)"
    )
    command = [sys.executable, "-c", program, str(path), str(max_unpacked_bytes)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_an_array_that_says_more_than_it_holds_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (10**12,)})
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("x.npy", header.getvalue())
    assert "declares float32(1000000000000,)" in refusal(tmp_path / "test.npz", buffer.getvalue())


def test_a_directory_that_lies_about_a_members_size_does_not_unpack_more(tmp_path: Path) -> None:
    """The archive's directory says 200 bytes, the stream holds a megabyte: reading stops where it was said to."""
    data = bytearray(bomb("x.npy", 1 << 20))
    at = data.rindex(b"PK\x01\x02")
    data[at + 24 : at + 28] = struct.pack("<I", 200)
    assert "no array of numbers" in refusal(tmp_path / "test.npz", bytes(data))


def test_too_many_members_are_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for index in range(10_001):
            archive.writestr(f"{index}.npy", b"")
    assert "10001 members" in refusal(tmp_path / "test.npz", buffer.getvalue())
