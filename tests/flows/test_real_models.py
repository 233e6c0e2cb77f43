"""Models out of Python packages, unmodified: registered, rolled out and served by the very commands of the guide.

Their answers are held against those of the packages' own code; of silero-vad, whose code needs torch, against ONNX
Runtime alone.
"""

import json
import re
import shlex
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
import pytest
from tests.agent.serving.stock_client import REQUIREMENTS
from tests.environments import environment
from tests.flows.conftest import Fleet, running_fleet

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "guides" / "real-models.md"
CLIENT = Path(__file__).with_name("package_client.py")
PACKAGES = (
    "--no-deps", "magika==1.0.3", "rapidocr==3.10.0", "silero-vad==6.2.3", "onnxruntime==1.28.0", "numpy==2.4.6",
    "opencv-python-headless==5.0.0.93", "pillow==13.0.0", "pyclipper==1.4.0", "shapely==2.2.0", "omegaconf==2.4.0",
    "PyYAML==6.0.4", "colorlog==6.12.0", "requests==2.34.2", "urllib3==2.8.0", "idna==3.20",
    "certifi==2026.10.19.post1", "charset-normalizer==3.5.3", "click==8.5.1", "six==1.17.0", "tqdm==4.70.1",
    "flatbuffers==25.12.19", "packaging==26.4", "protobuf==7.36.2",
)  # fmt: skip
MODELS = ("magika", "text-orientation", "voice-activity", "text-detection")
WAIT_S = 60.0

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


class Served(NamedTuple):
    """A fleet that serves all of them, the samples, and what the stock client was answered."""

    fleet: Fleet
    folder: Path
    answers: dict[str, Any]

    def samples(self, model: str) -> dict[str, Any]:
        with np.load(self.folder / f"{model}.npz") as archive:
            return dict(archive)

    def expected(self, model: str) -> Any:
        return json.loads((self.folder / f"{model}.answers.json").read_text())["is"]

    def predict(self, model: str, features: object) -> Any:
        status, body = self.fleet.agents[0].ask("/predict", {"model_name": model, "features": features})
        assert status == 200, body
        return body


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    place = tmp_path_factory.mktemp("real")
    models = place / "build" / "models"
    python = environment("packages", *PACKAGES)
    subprocess.run([python, ROOT / "examples" / "real_models" / "samples.py", models], check=True)
    with running_fleet(place / "fleet") as fleet:
        for device_id in fleet.device_ids:
            fleet.client.devices.configure(device_id, window_s=1, window_requests=10)
        for command in commands_of_the_guide():
            follow(command, place, fleet)
        url = json.loads((fleet.agents[0].data / "run" / "endpoint.json").read_text())["url"]
        client = environment("tritonclient", *REQUIREMENTS)
        words = [client, CLIENT, url.removeprefix("http://"), models, place / "answers.npz"]
        subprocess.run(words, check=True)
        with np.load(place / "answers.npz") as answers:
            yield Served(fleet, models, dict(answers))


def commands_of_the_guide() -> list[list[str]]:
    """Return what the guide has its reader do once the samples are there, in order."""
    blocks = re.findall(r"^```sh\n(.*?)^```", GUIDE.read_text(), re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [shlex.split(line) for line in lines if line.startswith((".venv/bin/python ", "shoal "))]


def follow(words: list[str], place: Path, fleet: Fleet) -> None:
    """Run a command of the guide."""
    program = [sys.executable] if words[0] == ".venv/bin/python" else [sys.executable, "-m", "shoal_hub"]
    done = subprocess.run(
        [*program, *words[1:]], cwd=place, env=fleet.hub.environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{words}: {done.stdout[-2000:]}{done.stderr[-2000:]}"


def test_every_device_serves_each_of_them_as_the_package_has_it(served: Served) -> None:
    for model in MODELS:
        version = served.fleet.client.models.version(model, "1")
        [variant] = version.variants
        assert (variant.target, variant.report["technique"]) == ("generic-onnx-float32", "unmodified")
        assert variant.size_bytes == (served.folder / f"{model}.onnx").stat().st_size
        assert [agent.serves(model) for agent in served.fleet.agents] == [1, 1]
    assert served.fleet.client.models.version("text-orientation", "1").variants[0].accuracy == 1.0


def test_file_types_are_those_that_magika_itself_tells(served: Served) -> None:
    labels = (served.folder / "magika.txt").read_text().splitlines()
    expected = served.expected("magika")
    assert len({one["label"] for one in expected}) > 5
    found = served.answers["magika"]
    assert [labels[place] for place in found.argmax(axis=1)] == [one["label"] for one in expected]
    np.testing.assert_allclose(found.max(axis=1), [one["score"] for one in expected], atol=1e-3)
    answer = served.predict("magika", {"bytes": served.samples("magika")["bytes"][0].tolist()})
    assert answer["prediction"] == expected[0]["label"]
    assert answer["confidence"] == pytest.approx(expected[0]["score"], abs=1e-3)


def test_lines_of_text_stand_as_rapidocr_itself_tells(served: Served) -> None:
    expected = served.expected("text-orientation")
    assert [one["label"] for one in expected] == ["0", "180"] * 40
    found = served.answers["orientation"]
    assert found.argmax(axis=1).tolist() == [0, 1] * 40
    np.testing.assert_allclose(found.max(axis=1), [one["score"] for one in expected], atol=1e-4)
    url = json.loads((served.fleet.agents[0].data / "run" / "endpoint.json").read_text())["url"]
    for place, label in enumerate(("0", "180")):
        image = (served.folder / f"line-{place}.png").read_bytes()
        request = urllib.request.Request(  # noqa: S310
            f"{url}/predict?model_name=text-orientation", image, {"content-type": "image/png"}
        )
        with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310
            answer = json.loads(response.read())
        assert answer["prediction"] == label
        assert answer["confidence"] == pytest.approx(expected[place]["score"], abs=1e-3)


def test_a_voice_is_heard_in_a_stream_whose_state_the_client_hands_back(served: Served) -> None:
    found, expected = served.answers["speech"], served.expected("voice-activity")
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert found[:30].max() < 0.1, "a hum"
    assert found[31:60].max() > 0.9, "something like a vowel"
    samples = served.samples("voice-activity")
    features = {"input": samples["input"][0].tolist(), "state": samples["state"].tolist(), "sr": 16_000}
    assert served.predict("voice-activity", features)["prediction"] == pytest.approx(expected[0], abs=1e-4)


def test_a_sample_of_megabytes_is_answered_and_its_golden_input_did_not_travel(served: Served) -> None:
    session = onnxruntime.InferenceSession(served.folder / "text-detection.onnx", providers=["CPUExecutionProvider"])
    [expected] = session.run(None, {"x": served.samples("text-detection")["x"][:1]})
    np.testing.assert_allclose(served.answers["detection"], expected, atol=1e-3)
    version = served.fleet.client.models.version("text-detection", "1")
    assert version.manifest_sha256 is not None
    manifest = served.fleet.agents[0].data / "blobs" / version.manifest_sha256
    assert manifest.stat().st_size < 600_000
    assert "seed" in json.loads(manifest.read_bytes())["golden_inputs"]["x"]


def test_windows_of_each_come_to_the_hub_and_none_looks_like_drift(served: Served) -> None:
    asked = {model: len(served.expected(model)) for model in MODELS[:3]} | {"text-detection": 1}
    deadline_s = time.monotonic() + WAIT_S
    while True:
        windows = {model: served.fleet.client.drift.windows(model=model) for model in MODELS}
        samples = {model: sum(one.samples for one in found) for model, found in windows.items()}
        if all(samples[model] >= at_least for model, at_least in asked.items()):
            break
        assert time.monotonic() < deadline_s, samples
        time.sleep(0.2)
    assert sum(sum(one.predictions) for one in windows["magika"]) == samples["magika"]
    assert served.fleet.client.drift.list() == []
    assert not any("sent empty" in agent.log() for agent in served.fleet.agents), "each sketch fits its message"


def test_magika_answers_a_file_of_many_rows_beside_the_agent(served: Served, tmp_path: Path) -> None:
    rows = served.samples("magika")["bytes"][:20]
    source, out = tmp_path / "files.jsonl", tmp_path / "types.jsonl"
    source.write_text("".join(json.dumps({"bytes": row.tolist()}) + "\n" for row in rows))
    words = ["batch", "--data", served.fleet.agents[0].data, "--model", "magika", "--input", source, "--output", out]
    done = subprocess.run(
        [sys.executable, "-m", "shoal_agent", *map(str, words)],
        env=served.fleet.hub.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = [json.loads(line)["target_label.label"] for line in out.read_text().splitlines()]
    assert found == [one["label"] for one in served.expected("magika")[:20]]
