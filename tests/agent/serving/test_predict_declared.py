"""The friendly call goes by what the version's manifest declares: images as they are, tables by name, labels back."""

import io
from collections.abc import AsyncIterator, Mapping
from typing import Any

import anyio
import anyio.to_thread
import httpx
import numpy as np
import pytest
from tests.agent.endpoints import listening
from tests.agent.serving.conftest import SeenRequests
from tests.fixtures import tiny

from shoal_agent.client import Client
from shoal_agent.engines import Array, EngineSetup
from shoal_agent.serving import Inference, ModelServer, ServedModel, create_router
from shoal_contract.manifest import TensorSpec, VersionManifest
from shoal_contract.processing import (
    CategoryFeature,
    ClassesOutput,
    ImageInput,
    NumberFeature,
    NumbersOutput,
    Output,
    Processing,
    Resize,
    TabularInput,
)

Image = pytest.importorskip("PIL.Image")
pytestmark = pytest.mark.anyio
IMAGE = TensorSpec(name="image", datatype="FP32", shape=(-1, 1, 8, 8))
ROW = TensorSpec(name="row", datatype="FP32", shape=(-1, 3))
SCORES = TensorSpec(name="scores", datatype="FP32", shape=(-1, 2))
PICTURES = ImageInput(colour="GREY", resize=Resize(width=8, height=8), scale=1 / 255)
TABLE = TabularInput(
    features=(
        NumberFeature(name="weight", mean=10.0, std=2.0),
        CategoryFeature(name="colour", vocabulary=("red", "green"), unknown="refuse"),
    )
)


class MeanEngine:
    """Answers (1 - m, m), where m is the mean of each sample."""

    is_in_use = False
    setup = EngineSetup("mean")

    def __init__(self, spec: TensorSpec) -> None:
        self.inputs, self.outputs = (spec,), (SCORES,)
        self.given: list[Array] = []

    def infer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        [array] = inputs.values()
        self.given.append(array)
        mean = array.reshape(len(array), -1).mean(axis=1)
        return {"scores": np.stack([1 - mean, mean], axis=1).astype(np.float32)}

    def close(self) -> None:
        self.given.clear()


def served(name: str, engine: MeanEngine, processing: Processing) -> ServedModel:
    fields = tiny.tiny_manifest(model=name).model_dump()
    changes = {
        "inputs": engine.inputs,
        "outputs": engine.outputs,
        "labels": ("dark", "bright"),
        "processing": processing,
    }
    manifest = VersionManifest.model_validate(fields | changes | {"processing": processing})
    return ServedModel(name, 1, manifest.variants[0].target, manifest, "0" * 64, engine)


def processing(made: ImageInput | TabularInput, meant: Output | None = None) -> Processing:
    name = "image" if isinstance(made, ImageInput) else "row"
    return Processing(inputs={name: made}, outputs={"scores": meant} if meant is not None else {})


def picture(shade: int, form: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (20, 30), (shade, shade, shade)).save(file, form)
    return file.getvalue()


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    server = ModelServer()
    top = ClassesOutput(top=1)
    await server.swap("camera", served("camera", MeanEngine(IMAGE), processing(PICTURES, top)))
    await server.swap("scales", served("scales", MeanEngine(ROW), processing(TABLE, NumbersOutput(scale=10.0))))
    async with listening(create_router(Inference(server, SeenRequests()))) as port, httpx.AsyncClient() as caller:
        caller.base_url = httpx.URL(f"http://127.0.0.1:{port}")
        yield caller
    await server.aclose()


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
async def test_an_image_is_sent_as_it_is_and_its_label_comes_back(client: httpx.AsyncClient, form: str) -> None:
    for shade, label in ((250, "bright"), (5, "dark")):
        headers = {"content-type": f"image/{form.lower()}"}
        answer = await client.post("/predict?model_name=camera&id=seven", content=picture(shade, form), headers=headers)
        found = answer.json()
        assert (answer.status_code, found["prediction"], found["id"]) == (200, label, "seven"), found
        assert found["confidence"] == pytest.approx(max(shade, 255 - shade) / 255, abs=0.02)


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
async def test_the_python_client_sends_an_image_as_it_is(client: httpx.AsyncClient, form: str) -> None:
    def ask() -> dict[str, Any]:
        with Client(str(client.base_url)) as agent:
            return agent.predict(picture(250, form), model="camera")

    assert (await anyio.to_thread.run_sync(ask))["prediction"] == "bright"


async def test_samples_of_a_table_are_given_by_name_and_numbers_come_back(client: httpx.AsyncClient) -> None:
    rows = [{"weight": 12.0, "colour": "green"}, {"weight": 10, "colour": "red"}]
    one = (await client.post("/predict", json={"model_name": "scales", "features": rows[0]})).json()
    both = (await client.post("/predict", json={"model_name": "scales", "features": rows})).json()
    mean = (1.0 + 0.0 + 1.0) / 3
    assert one["prediction"]["scores"] == pytest.approx([10 * (1 - mean), 10 * mean], abs=1e-4)
    assert [len(row["prediction"]["scores"]) for row in both["predictions"]] == [2, 2]


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no image": ({"content": b"GIF89a nothing", "headers": {"content-type": "image/png"}}, "image"),
    "half an image": ({"content": picture(7)[:60], "headers": {"content-type": "image/png"}}, "image"),
    "an unknown word": (
        {
            "json": {
                "model_name": "scales",
                "features": [{"weight": 1, "colour": "red"}, {"weight": 1, "colour": "blue"}],
            }
        },
        "sample 1 of 2: ",
    ),
    "a number without end": (
        {"json": {"model_name": "scales", "features": {"weight": 10**400, "colour": "red"}}},
        "beyond the range of 64-bit floats",
    ),
    "no names": ({"json": {"model_name": "scales", "features": [1, 2]}}, "expected values by their names"),
    "a missing column": ({"json": {"model_name": "scales", "features": {"weight": 1}}}, "no column 'colour'"),
    "an image for a table": (
        {"content": picture(7), "headers": {"content-type": "image/png"}, "params": {"model_name": "scales"}},
        "declares no input that is made of one",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
async def test_what_cannot_be_made_an_input_is_refused_with_its_reason(client: httpx.AsyncClient, kind: str) -> None:
    sent, reason = REFUSED[kind]
    answer = await client.post("/predict", **({"params": {"model_name": "camera"}} | sent))
    assert answer.status_code == 400
    assert reason in answer.json()["error"]
