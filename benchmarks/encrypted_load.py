"""What it costs a device that a version is encrypted: hash, open and load a 10 MB model, against the plain file's.

Both ways are the agent's own calls at a start: the stored file is hashed and loaded by ONNX Runtime; or it is decrypted
into memory, which checks it as well, and loaded from there. `first_load` is the one after a fetch, once a version. It
checks the plain hash besides; `first_load_peer` is then spared its hash, which was made of the chunks. Run it as
`python benchmarks/encrypted_load.py`.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), *(str(ROOT / name) for name in ("contract", "numerics", "agent", "hub"))]

import numpy as np  # noqa: E402 - the paths above come first
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from shoal_agent.blobs import BlobStore  # noqa: E402
from shoal_agent.encryption_key import new_encryption_key  # noqa: E402
from shoal_agent.engines import load_engine  # noqa: E402
from shoal_agent.plain_file import plain_file  # noqa: E402
from shoal_contract.encryption import EncryptedFile, KeyUse, encrypt_file, wrap_key  # noqa: E402
from shoal_contract.ids import sha256_hex  # noqa: E402
from shoal_contract.manifest import TensorData, TensorSpec, Variant  # noqa: E402

FEATURES, LABELS = 2500, 1000
VERSION_KEY = bytes(range(32))
DEVICE = "d-" + "a" * 16
INPUTS = (TensorSpec(name="x", datatype="FP32", shape=(-1, FEATURES)),)
OUTPUTS = (TensorSpec(name="y", datatype="FP32", shape=(-1, LABELS)),)
MAX_RATIO = 2.0


class Load(Protocol):
    """Loads the model once."""

    def __call__(self, *, is_start: bool) -> None:
        """Load it as at a start, or as after a fetch."""


def main() -> None:
    """Measure and print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="loads of each kind, in turn")
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        loads = prepare(Path(folder))
        peer, ours = medians(loads, rounds, is_start=True)
        first_peer, first = medians(loads, rounds, is_start=False)
    line = {
        "name": "encrypted_load_cpu_10mb",
        "unit": "ms",
        "ours": round(ours, 1),
        "peer": round(peer, 1),
        "peer_name": "the same model, not encrypted",
        "ratio": round(ours / peer, 2),
        "n": rounds,
        "goal": f"at most {MAX_RATIO:g} times the plain file's CPU",
        "holds": ours <= MAX_RATIO * peer,
        "first_load": round(first, 1),
        "first_load_peer": round(first_peer, 1),
    }
    print(json.dumps(line))


def medians(loads: Sequence[Load], rounds: int, *, is_start: bool) -> list[float]:
    """Return the median CPU of each kind of load, taken in turn."""
    costs = [[cpu_ms(partial(load, is_start=is_start)) for load in loads] for _ in range(rounds)]
    return [statistics.median(column) for column in zip(*costs, strict=True)]


def prepare(folder: Path) -> tuple[Load, Load]:
    """Store the model both ways; return what loads the plain one and the encrypted one, to the closed engine.

    At a start (`is_start`) the process has hashed nothing yet, and both versions have been served before.
    """
    blobs = BlobStore(folder)
    data = make_model()
    sealed = encrypt_file(data, VERSION_KEY)
    for content in (data, sealed):
        blobs.path(sha256_hex(content)).write_bytes(content)
    golden = TensorData(datatype="FP32", shape=(1,), data="AACAPw==")
    variant = Variant(
        target="generic-onnx-float32",
        runtime="onnxruntime",
        format="onnx",
        precision="float32",
        sha256=sha256_hex(data),
        size_bytes=len(data),
        golden_outputs={"y": golden},
        golden_tolerance=0.1,
        encrypted=EncryptedFile(sha256=sha256_hex(sealed), size_bytes=len(sealed)),
    )
    key = new_encryption_key(DEVICE)
    wrapped = wrap_key(VERSION_KEY, key.private.public_key(), KeyUse(DEVICE, "m", 1))

    def load_plain(*, is_start: bool) -> None:
        (BlobStore(folder) if is_start else blobs).check(variant.sha256)
        load_engine(blobs.path(variant.sha256), variant, INPUTS, OUTPUTS).close()

    def load_encrypted(*, is_start: bool) -> None:
        sealed, version_key = blobs.path(variant.travels_as.sha256), key.open(wrapped, "m", 1)
        with plain_file(sealed, variant, version_key, is_known=is_start) as path:
            load_engine(path, variant, INPUTS, OUTPUTS).close()

    blobs.check(variant.sha256)
    return load_plain, load_encrypted


def make_model() -> bytes:
    """Return an ONNX model of 10 MB: one matrix of float32."""
    weights = np.random.default_rng(0).normal(size=(FEATURES, LABELS)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "matrix",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, FEATURES])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, LABELS])],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def cpu_ms(call: Callable[[], None]) -> float:
    """Return the CPU time of one call in this process."""
    started_s = time.process_time()
    call()
    return (time.process_time() - started_s) * 1000


if __name__ == "__main__":
    main()
