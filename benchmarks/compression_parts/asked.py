"""What the pre-trained models are asked: sounds, lines of text, and files, made here from a seed."""

import sys
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from compression_parts.datasets import ROOT, words

from shoal_numerics.tensors import Array

Asked = tuple[dict[str, Array], Array | None]
RATE, CHUNK, CONTEXT = 16_000, 512, 64
"""Of the voice-activity model: samples a second, in a chunk, and of the chunk before that it gets again."""
SECONDS = 96
VOWELS_HZ = ((700, 1200, 2600), (300, 2300, 3000), (300, 870, 2240), (530, 1840, 2480), (570, 840, 2410))
LINES = 2_000
BLOCK, PART = 4096, 1024
"""Bytes that `magika` reads at both ends of a file, and those that it looks at, without white space around them."""
FILES, FILES_OF_A_KIND = 2_000, 40
LEAST_BYTES: Final = 64


def sounds(model: Path) -> Asked:
    """Return chunks of a sound in which voices come and go, with the states that the model had before each."""
    import onnxruntime as ort

    sound = np.concatenate([np.zeros(CONTEXT), _voices(np.random.default_rng(0))]).astype(np.float32)
    session = ort.InferenceSession(model)
    state = {name: np.zeros((1, 1, 128), np.float32) for name in ("h", "c")}
    asked: dict[str, list[Array]] = {"input": [], "h": [], "c": []}
    for start in range(0, len(sound) - CHUNK - CONTEXT, CHUNK):
        feed = {"input": sound[np.newaxis, start : start + CHUNK + CONTEXT], **state}
        for name, array in feed.items():
            asked[name].append(array)
        _, state["h"], state["c"] = session.run(None, feed)
    return {name: np.stack(arrays) for name, arrays in asked.items()}, None


def _voices(random: np.random.Generator) -> npt.NDArray[np.float64]:
    """Return seconds of vowels of changing pitch, of noise, and of near silence."""
    parts: list[npt.NDArray[np.float64]] = []
    while sum(map(len, parts)) < SECONDS * RATE:
        at = np.arange(int(RATE * random.uniform(0.3, 1.2))) / RATE
        kind = random.choice(["voice", "voice", "noise", "hum"])
        noise = random.normal(size=len(at)) * random.choice([0.001, 0.01, 0.05])
        if kind == "voice":
            pitch_hz = random.uniform(90, 240) * (1 + 0.1 * np.sin(2 * np.pi * random.uniform(2, 5) * at))
            pulses = np.diff(np.floor(np.cumsum(pitch_hz) / RATE), prepend=0.0)
            formants = VOWELS_HZ[random.integers(len(VOWELS_HZ))]
            ring = sum(_resonance(pulses, hz * random.uniform(0.9, 1.1), 90) for hz in formants)
            loud = 0.25 * (1 + 0.8 * np.sin(2 * np.pi * random.uniform(3, 6) * at)) * random.uniform(0.2, 1)
            noise = noise + ring / (np.abs(ring).max() + 1e-9) * loud
        elif kind == "hum":
            noise = noise + 0.02 * np.sin(2 * np.pi * random.choice([50, 60, 400]) * at)
        parts.append(noise)
    return np.concatenate(parts)[: SECONDS * RATE]


def _resonance(pulses: npt.NDArray[np.float64], formant_hz: float, width_hz: float) -> npt.NDArray[np.float64]:
    """Let pulses ring at a frequency."""
    at = np.arange(RATE // 20) / RATE
    ring = np.exp(-np.pi * width_hz * at) * np.sin(2 * np.pi * formant_hz * at)
    return np.convolve(pulses, ring)[: len(pulses)]


def lines() -> Asked:
    """Return lines of text (n, 3, 48, 192) in -1..1, every other one on its head, and whether it is."""
    from PIL import Image, ImageDraw, ImageFont

    random = np.random.default_rng(0)
    known = sorted(set(words(sorted((ROOT / "docs").rglob("*.md")))))
    images = []
    for place in range(LINES):
        paper, ink = int(random.integers(150, 256)), int(random.integers(0, 100))
        image = Image.new("RGB", (192, 48), (paper,) * 3)
        text = " ".join(random.choice(known, size=random.integers(1, 4)))
        font = ImageFont.load_default(int(random.integers(18, 34)))
        ImageDraw.Draw(image).text((int(random.integers(2, 12)), int(random.integers(2, 12))), text, (ink,) * 3, font)
        pixels = np.asarray(image, np.float32) + random.normal(0, 6, size=(48, 192, 3))
        images.append(pixels[::-1, ::-1] if place % 2 else pixels)
    x = (np.clip(np.stack(images), 0, 255).transpose(0, 3, 1, 2) / 255 - 0.5) / 0.5
    return {"x": np.ascontiguousarray(x, np.float32)}, np.arange(LINES) % 2


def files() -> Asked:
    """Return both ends of files (n, 2048) of the repository and of the Python that runs this, of many kinds."""
    kinds: dict[str, list[Path]] = {}
    for top in (ROOT / "docs", ROOT / "tests", Path(sys.prefix), Path("/usr/lib"), Path("/usr/share")):
        for path in sorted(top.rglob("*")):
            found = kinds.setdefault(path.suffix.lower(), [])
            if len(found) < FILES_OF_A_KIND and path.is_file() and path.stat().st_size > LEAST_BYTES:
                found.append(path)
    paths = [path for rank in range(FILES_OF_A_KIND) for found in kinds.values() for path in found[rank : rank + 1]]
    return {"bytes": np.stack([_ends(path) for path in paths[:FILES]])}, None


def _ends(path: Path) -> npt.NDArray[np.int32]:
    """What `magika` makes of a file: 1,024 numbers of its beginning and of its end, 256 where there is no byte."""
    content = path.read_bytes()
    begin, end = content[:BLOCK].lstrip()[:PART], content[-BLOCK:].rstrip()[-PART:]
    nothing = [256] * PART
    return np.array([*begin, *nothing[len(begin) :], *nothing[len(end) :], *end], dtype=np.int32)
