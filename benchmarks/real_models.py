"""What serving adds to models out of Python packages, unmodified: the time of a request over that of the bare runtime.

The real `shoal-agent run` with four models; requests of one sample with tensors as binary data, in turn with the bare
runtime, both in one thread. Run as `python benchmarks/real_models.py`; prints one JSON line a model.
"""

import argparse
import json
import sys
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
FOLDERS = ("contract", "numerics", "agent", "training", "compression", "hub")
sys.path[:0] = [str(ROOT), *(str(ROOT / folder) for folder in FOLDERS)]

from serving_parts.client import Connection  # noqa: E402 - after the path
from serving_parts.device import prepare_versions, running_agent  # noqa: E402 - after the path
from tests.environments import environment  # noqa: E402 - after the path

from shoal_agent.engines.onnx_engine import OnnxEngine  # noqa: E402 - after the path
from shoal_agent.serving.wire import write_request  # noqa: E402 - after the path
from shoal_compression.compress import keep_unmodified  # noqa: E402 - after the path
from shoal_contract.manifest import Provenance, Variant, VersionManifest  # noqa: E402 - after the path
from shoal_hub.registry.inspection import inspect  # noqa: E402 - after the path
from shoal_hub.registry.limits import BundleLimits  # noqa: E402 - after the path
from shoal_training.onnx_bundle import About, bundle_from_onnx  # noqa: E402 - after the path

PACKAGES = ("--no-deps", "magika==1.0.3", "rapidocr==3.10.0", "silero-vad==6.2.3")
FILES = {
    "magika": "magika/models/standard_v3_3/model.onnx",
    "text-orientation": "rapidocr/models/ch_ppocr_mobile_v2.0_cls_mobile.onnx",
    "text-detection": "rapidocr/models/PP-OCRv6_det_small.onnx",
    "voice-activity": "silero_vad/data/silero_vad.onnx",
}
ONE_SAMPLE = "voice-activity"
GOALS_MS = dict.fromkeys(FILES, 1.0) | {"text-detection": 20.0}
"""Added to a request; of five megabytes, the time that they take through a socket and into the statistics."""
WARM_UP = 10
Arrays = dict[str, Any]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10, help="turns of ours and the bare runtime")
    parser.add_argument("--requests", type=int, default=20, help="requests in a turn")
    options = parser.parse_args()
    [packages] = environment("model-files", *PACKAGES).parents[1].glob("lib/python*/site-packages")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        versions = {model: version_of(model, packages / path, folder / model) for model, path in FILES.items()}
        prepare_versions(folder / "device", list(versions.values()))
        with running_agent(folder / "device", "--warmup-s", "0") as (_, port):
            for model, (_, manifest) in versions.items():
                line = measure(port, packages / FILES[model], manifest, options)
                print(json.dumps(line), flush=True)


def samples_of(model: str) -> Arrays:
    """Return a few samples of a model's inputs, at random."""
    random = np.random.default_rng(0)
    if model == "magika":
        return {"bytes": random.integers(0, 257, size=(8, 2048), dtype=np.int32)}
    if model == ONE_SAMPLE:
        sound = random.normal(0, 0.1, size=(8, 1, 576)).astype(np.float32)
        return {"input": sound, "state": np.zeros((2, 1, 128), dtype=np.float32), "sr": np.array(16_000)}
    size = (2, 3, 640, 640) if model == "text-detection" else (8, 3, 48, 192)
    return {"x": random.uniform(-1, 1, size=size).astype(np.float32)}


def version_of(model: str, path: Path, folder: Path) -> tuple[bytes, VersionManifest]:
    """Return a model's file and the manifest that a hub would make of it."""
    about = About(model, "benchmark", watched=("input",) if model == ONE_SAMPLE else ())
    bundle = bundle_from_onnx(path, samples_of(model), folder / "bundle", about)
    report = keep_unmodified(folder / "bundle", folder / "variants")
    manifest = VersionManifest(
        model=model,
        version=1,
        created_at=datetime.now(timezone.utc),
        inputs=bundle.inputs,
        outputs=bundle.outputs,
        batching=bundle.batching,
        golden_inputs=report.golden_inputs,
        variants=tuple(Variant.model_validate(one.model_dump()) for one in report.variants),
        baseline=inspect(folder / "bundle", BundleLimits()).baseline,
        provenance=Provenance(source_sha256="0" * 64, data_sha256=bundle.data_sha256),
    )
    return path.read_bytes(), manifest


def measure(port: int, path: Path, manifest: VersionManifest, options: argparse.Namespace) -> dict[str, object]:
    """Return one model's line."""
    model, engine = manifest.model, OnnxEngine(path, manifest.inputs, manifest.outputs)
    taken = {name: (array if name in {"state", "sr"} else array[:1]) for name, array in samples_of(model).items()}
    request = taken | ({"input": taken["input"][0]} if model == ONE_SAMPLE else {})
    body, json_bytes = write_request(request)
    header = f"Inference-Header-Content-Length: {json_bytes}\r\n"
    connection = Connection(port, f"/v2/models/{model}/infer", body, header)
    connection.times_ms(WARM_UP)
    ours: list[float] = []
    bare: list[float] = []
    for _ in range(options.rounds):
        ours += connection.times_ms(options.requests)
        for _ in range(options.requests):
            began_s = time.perf_counter()
            engine.infer(request)
            bare.append((time.perf_counter() - began_s) * 1000)
    connection.close()
    engine.close()
    added = median(ours) - median(bare)
    return {
        "name": f"real_model_added_latency_p50_{model}",
        "unit": "ms",
        "ours": round(added, 3),
        "peer": round(median(bare), 3),
        "peer_name": "the bare runtime's whole run",
        "ratio": round(median(bare) / added, 2) if added > 0 else None,
        "n": len(ours),
        "goal": f"<= {GOALS_MS[model]:g} ms",
        "holds": added <= GOALS_MS[model],
    }


if __name__ == "__main__":
    main()
