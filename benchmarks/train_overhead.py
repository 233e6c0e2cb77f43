"""What our training loop costs beside a hand-written one of PyTorch: same network, data and batches, so same weights.

Run as `python benchmarks/train_overhead.py`; prints JSON lines. Epochs of the two take turns. On a GPU the same is done
with mixed precision, and the share of the GPU's peak is told; without one these lines have no figures.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

ROOT: Final = Path(__file__).parents[1]
FOLDERS = ("contract", "numerics", "agent", "training", "compression", "benchmarks")
sys.path[:0] = [str(ROOT), *(str(ROOT / folder) for folder in FOLDERS)]

import torch  # noqa: E402 - after the path
from compression_parts.lines import line  # noqa: E402 - after the path
from training_parts.problems import CLASSES, images  # noqa: E402 - after the path

from shoal_training.frameworks.networks import Cnn, Network  # noqa: E402 - after the path
from shoal_training.frameworks.torch_engine import TorchEngine  # noqa: E402 - after the path
from shoal_training.frameworks.torch_networks import build_torch  # noqa: E402 - after the path
from shoal_training.frameworks.torch_trainer import Torch  # noqa: E402 - after the path
from shoal_training.frameworks.trainer import Samples, TrainContext  # noqa: E402 - after the path
from shoal_training.frameworks.training_loop import Plan, TrainingLoop  # noqa: E402 - after the path

SEED: Final = 0
MOST_OVERHEAD: Final = 1.02
PEAKS: Final = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L4": 121e12, "T4": 65e12}
"""Operations a second in 16 bits, dense, by the makers' sheets."""
BACKWARD: Final = 3
"""A step's operations by those of its forward pass."""


class Times(NamedTuple):
    """Of an epoch: on the clock, and on the processor, which others' work does not lengthen as much."""

    wall_s: float
    processor_s: float


def main() -> None:
    """Measure on the CPU, and on a GPU where there is one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=15, help="of each, in turns")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU; several wait for each other on a busy one")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    small = Cnn(channels=(16, 32), hidden=(64,))
    report("train_overhead_cpu", small, images(64 * 60), 64, options.epochs, "cpu", "float32")
    if not torch.cuda.is_available():
        for name in ("train_overhead_gpu_mixed", "train_peak_gpu_mixed"):
            line(name, "ratio", None, None, "a hand-written loop", None, "needs a GPU", None)
        return
    large = Cnn(channels=(256, 512, 512), hidden=(1024,))
    report("train_overhead_gpu_mixed", large, images(512 * 60, 32, 3), 512, options.epochs, "cuda", "bfloat16")


def report(
    name: str, network: Network, samples: Samples, batch: int, epochs: int, device_name: str, precision: str
) -> None:
    """Train with both in turns, see that they learn the same, and print."""
    device = torch.device(device_name)
    trainer = Torch.model_validate({"network": network, "batch": batch, "epochs": epochs, "precision": precision})
    with tempfile.TemporaryDirectory() as folder:
        ours, engine = our_loop(trainer, samples, device, Path(folder))
        theirs, written = hand_written(trainer, samples, device)
        times: dict[str, list[Times]] = {"ours": [], "theirs": []}
        for epoch in range(epochs):
            turns = [("ours", ours), ("theirs", theirs)]
            for who, run in turns if epoch % 2 else reversed(turns):
                times[who].append(timed(run, epoch, device))
    for one, other in zip(engine.network.parameters(), written.parameters(), strict=True):
        assert torch.equal(one, other) or device_name == "cuda", "the two loops have learned different weights"
    pairs = list(zip(times["ours"][1:], times["theirs"][1:], strict=True))  # the first warms up
    ours_s, theirs_s = (statistics.median(one.wall_s for one in times[who][1:]) for who in ("ours", "theirs"))
    ratio = statistics.median(one.wall_s / other.wall_s for one, other in pairs)
    line(
        name,
        "seconds of an epoch, checkpoint included",
        ours_s,
        theirs_s,
        f"a hand-written loop of PyTorch {torch.__version__}",
        len(pairs),
        f"at most {MOST_OVERHEAD}",
        ratio <= MOST_OVERHEAD,
        ratio=ratio,
        batch=batch,
        rows=len(samples),
        threads=torch.get_num_threads(),
        precision=precision,
        processor_time_ratio=round(statistics.median(one.processor_s / other.processor_s for one, other in pairs), 4),
    )
    if device_name == "cuda":
        say_peak(network, samples, batch, ours_s)


def timed(run: Callable[[int], None], epoch: int, device: torch.device) -> Times:
    """Return how long an epoch takes."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    began, began_processor = time.perf_counter(), time.process_time()
    run(epoch)
    if device.type == "cuda":
        torch.cuda.synchronize()
    return Times(time.perf_counter() - began, time.process_time() - began_processor)


def our_loop(
    trainer: Torch, samples: Samples, device: torch.device, folder: Path
) -> tuple[Callable[[int], None], TorchEngine]:
    """Return what does our next epoch, as a pipeline's training would, its checkpoint among it."""
    engine = TorchEngine(built(trainer, samples), trainer, samples, {}, device, SEED)
    plan = Plan("benchmark", trainer.epochs, trainer.batch, trainer.optimizer.learning_rate, trainer.schedule)
    loop = TrainingLoop(engine, plan, TrainContext("classification", CLASSES, folder, SEED))
    loop._resume()  # noqa: SLF001 - epochs have to take turns with the other loop's
    return lambda _epoch: loop._epoch(), engine  # noqa: SLF001 - as above


def hand_written(
    trainer: Torch, samples: Samples, device: torch.device
) -> tuple[Callable[[int], None], torch.nn.Module]:
    """Return the loop that one would write for this network alone."""
    assert samples.y is not None
    network = built(trainer, samples).to(device)
    x, y = torch.from_numpy(samples.x).to(device), torch.from_numpy(samples.y).to(device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=trainer.optimizer.learning_rate, weight_decay=0.0)
    is_mixed = trainer.precision == "bfloat16"

    def epoch_of(epoch: int) -> None:
        network.train()
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(SEED + epoch)).to(device)
        total = torch.zeros((), device=device)
        for first in range(0, len(x), trainer.batch):
            rows = order[first : first + trainer.batch]
            with torch.autocast(device.type, torch.bfloat16, enabled=is_mixed):
                found = network(x[rows])
            loss = torch.nn.functional.cross_entropy(found.float(), y[rows], reduction="sum") / len(rows)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            total += loss.detach()
        print(f"epoch {epoch}: loss {float(total) / (len(x) / trainer.batch):.4f}", file=sys.stderr)

    return epoch_of, network


def built(trainer: Torch, samples: Samples) -> Any:  # noqa: ANN401 - a torch.nn.Module
    """Return the network with the first weights that both begin with."""
    torch.manual_seed(SEED)
    return build_torch(trainer.network, {}, samples.x.shape[1:], CLASSES)


def say_peak(network: Network, samples: Samples, batch: int, epoch_s: float) -> None:
    """Print the operations a second of our epochs by the GPU's peak."""
    from torch.utils.flop_counter import FlopCounterMode

    module = build_torch(network, {}, samples.x.shape[1:], CLASSES)
    with FlopCounterMode(display=False) as counter:
        module(torch.from_numpy(samples.x[:batch]))
    rate = counter.get_total_flops() * BACKWARD * len(samples) / batch / epoch_s
    gpu = torch.cuda.get_device_name()
    peak = next((value for name, value in PEAKS.items() if name in gpu), None)
    share = None if peak is None else rate / peak
    line("train_peak_gpu_mixed", "operations a second", rate, peak, gpu, len(samples), None, None, ratio=share)


if __name__ == "__main__":
    main()
