"""Takes models out of packages, with samples of what they are asked and what the packages' own code answers to them.

    python examples/real_models/samples.py OUT

Runs where `magika`, `rapidocr` and `silero-vad` are installed, see docs/guides/real-models.md; needs nothing of Shoal.
For each model it writes `<name>.onnx` as the package has it, `<name>.npz` with an array of samples for each input,
`<name>.txt` with the labels, `<name>.card.json`, and `<name>.answers.json`.
"""

import json
import shutil
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
from magika import Magika
from numpy.typing import NDArray
from rapidocr import RapidOCR

REPOSITORY = Path(__file__).parents[2]
FILES = ("*.md", "*.py", "*.toml", "*.yaml", "*.sh", "*.json", "*.html", "*.css", "*.js", "Dockerfile*", "Makefile")
"""Files of this repository that `magika` is asked about."""
WORDS = ("Shoal", "edge", "device 42", "rollout", "Kitchen", "telemetry", "Monday", "18:30 UTC", "garden", "latency")
LEAST_BYTES = 64
BLOCK, PART = 4096, 1024
"""Bytes that `magika` reads at both ends of a file, and those that it looks at, without white space around them."""
RATE, CHUNK, CONTEXT = 16_000, 512, 64
"""Of a voice-activity model: samples a second, in a chunk, and of the chunk before that it gets again."""


def main(out: Path) -> None:
    """Write all of them."""
    out.mkdir(parents=True, exist_ok=True)
    file_types(out)
    text_orientation(out)
    text_detection(out)
    voice_activity(out)


def file_types(out: Path) -> None:
    """`magika`: the first and the last 1,024 bytes of a file, as numbers, and 214 labels."""
    magika = Magika()
    folder = package("magika") / "models" / magika.get_model_name()
    labels = json.loads((folder / "config.min.json").read_text())["target_labels_space"]
    paths = [path for pattern in FILES for path in chosen(pattern)]
    keep(out, "magika", folder / "model.onnx", {"bytes": np.stack([first_and_last(path) for path in paths])}, labels)
    results = [magika.identify_path(path).prediction for path in paths]
    answers = [{"label": str(one.dl.label), "score": one.score} for one in results]
    write(out / "magika.processing.json", {"outputs": {"target_label": {"kind": "classes"}}})
    write(out / "magika.answers.json", {"files": [str(path.relative_to(REPOSITORY)) for path in paths], "is": answers})


def first_and_last(path: Path) -> NDArray[np.int32]:
    """What `magika` makes of a file: 1,024 numbers of its beginning and of its end, 256 where there is no byte."""
    data = path.read_bytes()
    begin, end = data[:BLOCK].lstrip()[:PART], data[-BLOCK:].rstrip()[-PART:]
    nothing = [256] * PART
    return np.array([*begin, *nothing[len(begin) :], *nothing[len(end) :], *end], dtype=np.int32)


def text_orientation(out: Path) -> None:
    """`rapidocr`: whether a line of text stands on its head, in images of 192 x 48 pixels."""
    lines = [draw(word, n) for n, word in enumerate(WORDS * 4)]
    images = [image for line in lines for image in (line, cv2.rotate(line, cv2.ROTATE_180))]
    model = package("rapidocr") / "models" / "ch_ppocr_mobile_v2.0_cls_mobile.onnx"
    y = np.array([0, 1] * (len(images) // 2))
    x = np.stack(images).transpose(0, 3, 1, 2).astype(np.float32)
    samples = {"x": (x / 255 - 0.5) / 0.5, "y": y}
    keep(out, "text-orientation", model, samples, ["0", "180"])
    rapidocr = RapidOCR(params={"Global.log_level": "error"})
    found = [rapidocr(image, use_det=False, use_cls=True, use_rec=False).cls_res[0] for image in images]
    answers = [{"label": label, "score": float(score)} for label, score in found]
    write(out / "text-orientation.answers.json", {"is": answers})
    for place in (0, 1):
        cv2.imwrite(str(out / f"line-{place}.png"), images[place])
    write(out / "text-orientation.processing.json", PROCESSING)


PROCESSING = {
    "inputs": {
        "x": {
            "kind": "image",
            "colour": "BGR",
            "resize": {"width": 192, "height": 48},
            "scale": 1 / 255,
            "mean": [0.5],
            "std": [0.5],
        }
    },
    "outputs": {"save_infer_model/scale_0.tmp_1": {"kind": "classes"}},
}
"""What `rapidocr` does to an image, as a manifest declares it."""


def text_detection(out: Path) -> None:
    """`rapidocr`: where text is, in images of any size: a sample has five megabytes."""
    images = np.full((4, 640, 640, 3), 255, dtype=np.uint8)
    for n, image in enumerate(images):
        for line, word in enumerate(WORDS, start=1):
            cv2.putText(image, word, (20 + 40 * n, 60 * line), cv2.FONT_HERSHEY_SIMPLEX, 1.0 + n * 0.2, (0,) * 3, 2)
    x = (images.transpose(0, 3, 1, 2).astype(np.float32) / 255 - 0.5) / 0.5
    keep(out, "text-detection", package("rapidocr") / "models" / "PP-OCRv6_det_small.onnx", {"x": x}, [])


def draw(word: str, n: int) -> NDArray[np.uint8]:
    """Return a line of text, (48, 192, 3), in one of several sizes and greys."""
    image = np.full((48, 192, 3), 255 - n % 3 * 20, dtype=np.uint8)
    cv2.putText(image, word, (4 + n % 5, 34), cv2.FONT_HERSHEY_SIMPLEX, 0.8 + n % 3 * 0.1, (n % 4 * 25,) * 3, 2)
    return image


def voice_activity(out: Path) -> None:
    """`silero-vad`: the probability of speech in each chunk of a sound, with a state from chunk to chunk.

    The package's own code needs torch for what is a loop around the model: ONNX Runtime runs the same file here.
    """
    model = package("silero_vad") / "data" / "silero_vad.onnx"
    chunks = chunks_of(sound())
    state, rate = np.zeros((2, 1, 128), dtype=np.float32), np.array(RATE, dtype=np.int64)
    keep(out, "voice-activity", model, {"input": chunks, "state": state, "sr": rate}, [])
    session, answers = onnxruntime.InferenceSession(model), []
    for chunk in chunks:
        probability, state = session.run(None, {"input": chunk, "state": state, "sr": rate})
        answers.append(float(probability[0, 0]))
    write(out / "voice-activity.answers.json", {"is": answers})


def sound() -> NDArray[np.float32]:
    """Return three seconds: a hum, something like two vowels, noise."""
    at = np.arange(RATE) / RATE
    random = np.random.default_rng(0)
    hum = 0.01 * np.sin(2 * np.pi * 50 * at)
    pitch = 120 + 20 * np.sin(2 * np.pi * 3 * at)
    pulses = np.diff(np.floor(np.cumsum(pitch) / RATE), prepend=0.0)
    voice = sum(resonance(pulses, formant, width) for formant, width in ((700, 80), (1200, 90), (2600, 120)))
    voice = voice / np.abs(voice).max() * (0.3 + 0.2 * np.sin(2 * np.pi * 4 * at))
    return np.concatenate([hum, voice, 0.02 * random.normal(size=RATE)]).astype(np.float32)


def resonance(pulses: NDArray[Any], formant_hz: float, width_hz: float) -> NDArray[Any]:
    """Let pulses ring at a frequency."""
    at = np.arange(RATE // 20) / RATE
    return np.convolve(pulses, np.exp(-np.pi * width_hz * at) * np.sin(2 * np.pi * formant_hz * at))[:RATE]


def chunks_of(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (n, 1, 576): chunks of 512 values, each with the last 64 of the one before."""
    count = len(values) // CHUNK
    before = np.concatenate([np.zeros(CONTEXT, dtype=np.float32), values])
    return np.stack([before[n * CHUNK : (n + 1) * CHUNK + CONTEXT][np.newaxis] for n in range(count)])


def keep(out: Path, name: str, model: Path, samples: dict[str, NDArray[Any]], labels: Sequence[str]) -> None:
    """Write a model, its samples, its labels and its card."""
    shutil.copyfile(model, out / f"{name}.onnx")
    np.savez_compressed(out / f"{name}.npz", allow_pickle=False, **samples)
    (out / f"{name}.txt").write_text("".join(f"{label}\n" for label in labels))
    licence = "MIT" if name == "voice-activity" else "Apache-2.0"
    write(out / f"{name}.card.json", {"licence": licence, "data": "see the package that the model is from"})


def write(path: Path, value: object) -> None:
    """Write JSON."""
    path.write_text(json.dumps(value, indent=1) + "\n")


def package(name: str) -> Path:
    """Return an installed package's folder, without importing it."""
    spec = find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def chosen(pattern: str) -> list[Path]:
    """Return up to 24 files of the repository, spread over those that match."""
    tops = [path for path in REPOSITORY.iterdir() if path.name[0] != "." and path.name != "build"]
    below = [path for top in tops for path in (top.rglob(pattern) if top.is_dir() else [top])]
    found = sorted(path for path in below if path.match(pattern) and is_source(path))
    return found[:: max(1, len(found) // 24)][:24]


def is_source(path: Path) -> bool:
    """Whether a path is a file that is large enough to be told by its content."""
    return path.is_file() and path.stat().st_size > LEAST_BYTES


if __name__ == "__main__":
    main(Path(sys.argv[1]))
