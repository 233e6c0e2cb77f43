"""The model of a job as the device has it: encrypted, or made for images, loaded by the device's own runtime."""

from pathlib import Path

import anyio
import numpy as np
import pytest
from onnx import TensorProto, helper
from tests.agent.batch import jobs
from tests.agent.simulators.device import Device
from tests.agent.simulators.director import ref_of
from tests.agent.simulators.https_hub import HttpsHub
from tests.agent.test_encrypted import publish
from tests.fixtures import tiny
from tests.numerics.processing.pictures import encoded

from shoal_agent.batch import BatchError
from shoal_agent.batch.model import choose_slot
from shoal_agent.engines import to_tensor_data
from shoal_agent.enrol import enrol
from shoal_agent.slots import SlotFile
from shoal_contract.manifest import TensorSpec, VersionManifest
from shoal_contract.processing import ClassesOutput, ImageInput, Processing, Resize


def test_an_encrypted_version_answers_and_is_nowhere_on_the_disk(hub: HttpsHub, tmp_path: Path) -> None:
    """Its columns are those of the baseline's features: nothing is declared of its input."""
    data = tmp_path / "device"
    enrol(data / "identity", hub.url, hub.authority.token)

    async def deploy() -> None:
        device = Device(data)
        await device.converge(publish(device, 1))
        await device.server.aclose()

    anyio.run(deploy)
    columns = {f"f{place}": tiny.GOLDEN[:, place] for place in range(tiny.FEATURES)}
    source = jobs.write_csv(tmp_path / "in.csv", columns)
    before = {path for path in data.rglob("*") if path.is_file()}
    jobs.run(jobs.job_of(data, tmp_path / "out.jsonl", source))
    rows = jobs.read_rows(tmp_path / "out.jsonl")
    found = np.array([row["probabilities"] for row in rows])
    np.testing.assert_allclose(found, tiny.probabilities(tiny.GOLDEN), atol=1e-5)
    assert {path for path in data.rglob("*") if path.is_file()} == before


def colours_onnx() -> bytes:
    """A network that answers the mean of each channel, (n, 3, 4, 4) to (n, 3)."""
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["image"], ["means"]),
            helper.make_node("Flatten", ["means"], ["colour"]),
        ],
        "colours",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, 4, 4])],
        [helper.make_tensor_value_info("colour", TensorProto.FLOAT, ["n", 3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    data: bytes = model.SerializeToString()
    return data


def colours_manifest(file: bytes) -> VersionManifest:
    golden = np.linspace(0, 1, 96, dtype=np.float32).reshape(2, 3, 4, 4)
    variant = tiny.onnx_variant().model_copy(
        update={
            "sha256": ref_of(file).sha256,
            "size_bytes": len(file),
            "golden_outputs": {"colour": to_tensor_data(golden.mean((2, 3)))},
        }
    )
    return tiny.tiny_manifest().model_copy(
        update={
            "inputs": (TensorSpec(name="image", datatype="FP32", shape=(-1, 3, 4, 4)),),
            "outputs": (TensorSpec(name="colour", datatype="FP32", shape=(-1, 3)),),
            "labels": ("red", "green", "blue"),
            "golden_inputs": {"image": to_tensor_data(golden)},
            "variants": (variant,),
            "processing": Processing(
                inputs={"image": ImageInput(resize=Resize(width=4, height=4, fit="letterbox"), scale=1 / 255)},
                outputs={"colour": ClassesOutput()},
            ),
        }
    )


def test_a_model_for_images_names_the_colour_of_each(tmp_path: Path) -> None:
    data, file = tmp_path / "device", colours_onnx()

    async def deploy() -> None:
        device = Device(data)
        await device.converge(device.publish(colours_manifest(file), "dp-1", file=file))
        await device.server.aclose()

    anyio.run(deploy)
    folder = tmp_path / "pictures"
    folder.mkdir()
    shades = {"a": (200, 20, 30), "b": (10, 190, 30), "c": (0, 20, 220)}
    for name, shade in shades.items():
        picture = np.full((20, 30, 3), shade, dtype=np.uint8)
        (folder / f"{name}.jpg").write_bytes(encoded(picture, "JPEG", quality=95))
    jobs.run(jobs.job_of(data, tmp_path / "out.csv", folder, batch_size=2))
    rows = jobs.read_rows(tmp_path / "out.csv")
    assert [(Path(row["file"]).stem, row["colour.label"]) for row in rows] == [
        ("a", "red"), ("b", "green"), ("c", "blue")
    ]  # fmt: skip


def test_while_a_version_is_unproven_the_one_before_is_taken(tmp_path: Path) -> None:
    data = jobs.deploy(tmp_path / "device", jobs.manifest(1), jobs.manifest(2))
    assert choose_slot(data, "tiny", None).version == 2
    file = SlotFile(data / "models", "tiny")
    assert file.slots.active is not None
    unproven = file.slots.active.model_copy(update={"state": "unproven"})
    file.put(file.slots.model_copy(update={"active": unproven}))
    assert choose_slot(data, "tiny", None).version == 1
    assert choose_slot(data, "tiny", 2).version == 2
    file.put(file.slots.model_copy(update={"previous": None}))
    with pytest.raises(BatchError, match=r"has proved itself of tiny: the device has version 2 \(unproven\)"):
        choose_slot(data, "tiny", None)
