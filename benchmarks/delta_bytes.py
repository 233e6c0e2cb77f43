"""What a delta costs: bytes of the whole file, and CPU and memory to make and to apply it, beside what others do.

The files are versions of one small CNN that is really trained on real digits here: fine-tuned, of another head, and
after one federated round on three devices. Each pair goes through ours and each peer, each step a process of its own.

Run it as `python benchmarks/delta_bytes.py`; on Debian, as the peers are its packages.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
SOURCES = [str(ROOT), *(str(ROOT / name) for name in ("contract", "numerics", "agent", "compression", "training"))]
PARTS = Path(__file__).parent / "delta_parts"

from delta_parts.peers import PEERS, Cost, install_peers, run  # noqa: E402 - the paths above come first

INT8, HEAD, FLOAT = 0.30, 0.01, 0.70


class Pair(NamedTuple):
    """Two files to compare, each the same file of two versions."""

    name: str
    version: str
    file: str
    most: float


PAIRS = (
    Pair("int8_litert_fine_tuned", "fine-tuned", "int8.tflite", INT8),
    Pair("int8_onnx_fine_tuned", "fine-tuned", "int8.onnx", INT8),
    Pair("int8_litert_head_only", "head-only", "int8.tflite", HEAD),
    Pair("int8_onnx_head_only", "head-only", "int8.onnx", HEAD),
    Pair("float32_weights_one_round", "federated", "weights.safetensors", FLOAT),
    Pair("float32_onnx_one_round", "federated", "model.onnx", FLOAT),
)


class Way(NamedTuple):
    """What one way of making deltas took for one pair."""

    size_bytes: int
    make: Cost
    apply: Cost
    start_mb: float = 0.0


def main() -> None:
    """Train, measure, and print a line for each pair and peer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5, help="runs behind each median of CPU and memory (default 5)")
    parser.add_argument("--seed", type=int, default=0, help="of splits, first weights and batches (default 0)")
    parser.add_argument("--models", type=Path, help="keep the models in this folder, or take those that are there")
    options = parser.parse_args()
    os.environ["PYTHONPATH"] = os.pathsep.join(SOURCES)
    programs = install_peers(ROOT / ".cache" / "bench" / "deltas")
    with tempfile.TemporaryDirectory(prefix="shoal-deltas-") as name:
        models = options.models or Path(name) / "models"
        if not (models / "models.json").exists():
            train(models, options.seed)
        print((models / "models.json").read_text(), file=sys.stderr)
        for pair in PAIRS:
            compare(programs, models, pair, Path(name), options.runs)


def train(folder: Path, seed: int) -> None:
    """Train the models in a process of its own, about a minute."""
    print("training the models", file=sys.stderr)
    log = subprocess.run([sys.executable, PARTS / "models.py", folder, str(seed)], capture_output=True, check=False)
    if log.returncode:
        sys.exit(f"training the models: {log.stderr.decode()[-2000:]}")


def compare(programs: Path, models: Path, pair: Pair, folder: Path, runs: int) -> None:
    """Measure ours and every peer in turn on one pair, and print the lines."""
    old, new = models / "parent" / pair.file, models / pair.version / pair.file
    ways: dict[str, Callable[[], Way]] = {"": lambda: ours(programs, old, new, folder)}
    for name in PEERS:
        ways[name] = lambda name=name: peer(programs, name, old, new, folder)  # type: ignore[misc]
    found: dict[str, list[Way]] = {name: [] for name in ways}
    for _ in range(runs):
        for name, way in ways.items():
            found[name].append(way())
    mine = median(found.pop(""))
    for name, theirs in found.items():
        report(pair, new.stat().st_size, mine, name, median(theirs), runs)


def ours(programs: Path, old: Path, new: Path, folder: Path) -> Way:
    """Make and apply a delta with the codec that hub and agent use."""
    patch, out = folder / "patch", folder / "out"
    make, _ = our_step(programs, "make", (old, new, patch), folder)
    apply, start_mb = our_step(programs, "apply", (old, patch, out), folder)
    assert out.read_bytes() == new.read_bytes()
    return Way(patch.stat().st_size, make, apply, start_mb)


def our_step(programs: Path, what: str, files: tuple[Path, Path, Path], folder: Path) -> tuple[Cost, float]:
    """Return the cost of one call, and the memory of its process before."""
    cost, printed = run(programs, [sys.executable, str(PARTS / "ours.py"), what, *map(str, files)], folder)
    told = json.loads(printed)
    return Cost(told["cpu_s"], cost.peak_mb), told["start_mb"]


def peer(programs: Path, name: str, old: Path, new: Path, folder: Path) -> Way:
    """Make and apply a patch with another program."""
    patch, out = folder / "patch", folder / "out"
    files = {"old": old, "new": new, "patch": patch, "out": out}
    make, apply = (run(programs, command.format_map(files).split(), folder)[0] for command in PEERS[name])
    assert out.read_bytes() == new.read_bytes()
    return Way(patch.stat().st_size, make, apply)


def median(ways: list[Way]) -> Way:
    """Return the medians of CPU and memory; the bytes are the same each time."""
    assert len({way.size_bytes for way in ways}) == 1

    def of(costs: list[Cost]) -> Cost:
        return Cost(statistics.median(one.cpu_s for one in costs), statistics.median(one.peak_mb for one in costs))

    start_mb = statistics.median(way.start_mb for way in ways)
    return Way(ways[0].size_bytes, of([way.make for way in ways]), of([way.apply for way in ways]), start_mb)


def report(pair: Pair, full_bytes: int, mine: Way, name: str, theirs: Way, runs: int) -> None:
    """Print one line."""
    share = mine.size_bytes / full_bytes
    line = {
        "name": f"delta_bytes_{pair.name}",
        "unit": "share of the whole file",
        "ours": round(share, 4),
        "peer": round(theirs.size_bytes / full_bytes, 4),
        "peer_name": name,
        "ratio": round(theirs.size_bytes / mine.size_bytes, 3),
        "n": runs,
        "full_bytes": full_bytes,
        "ours_cost": {**cost_of(mine), "start_mb": round(mine.start_mb, 1)},
        "peer_cost": cost_of(theirs),
        "goal": f"at most {pair.most}",
        "holds": share <= pair.most,
    }
    print(json.dumps(line), flush=True)


def cost_of(way: Way) -> dict[str, float]:
    """Return CPU in seconds and memory in MB, rounded."""
    return {
        "make_cpu_s": round(way.make.cpu_s, 3),
        "make_peak_mb": round(way.make.peak_mb, 1),
        "apply_cpu_s": round(way.apply.cpu_s, 4),
        "apply_peak_mb": round(way.apply.peak_mb, 1),
    }


if __name__ == "__main__":
    main()
