"""What PyTorch's trainer does beyond the suite: steps, precisions, checkpoints that a kill can not break."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.training.frameworks.trainers import blobs, changed, line

from shoal_training.errors import DataError, MemoryNeededError, NetworkError
from shoal_training.frameworks.checkpoints import CHECKPOINT_FILE, held_for_training
from shoal_training.frameworks.networks import Mlp
from shoal_training.frameworks.torch_engine import TorchEngine
from shoal_training.frameworks.torch_networks import build_torch
from shoal_training.frameworks.torch_trainer import FittedTorch, Torch
from shoal_training.frameworks.trainer import History, Samples, TrainContext

SMALL = {"network": {"kind": "mlp", "hidden": [8]}, "epochs": 2, "batch": 16, "device": "cpu"}


def fit(
    folder: Path, train: Samples | None = None, context: dict[str, Any] | None = None, **fields: Any
) -> FittedTorch:
    usual = {"task": "classification", "classes": 3, "folder": folder, "seed": 1, "threads": 1}
    given = TrainContext(**(usual | (context or {})))
    fitted = Torch.model_validate(SMALL | fields).fit(blobs(96) if train is None else train, None, given)
    assert isinstance(fitted, FittedTorch)
    return fitted


def test_it_learns_the_weights_of_a_loop_that_is_written_by_hand(tmp_path: Path) -> None:
    train = blobs(96)
    fitted = fit(tmp_path, epochs=3)
    torch.manual_seed(1)
    network = build_torch(Mlp(hidden=(8,)), {}, (4,), 3)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.0)
    x, y = torch.from_numpy(train.x), torch.from_numpy(train.y)
    for epoch in range(3):
        order = torch.randperm(96, generator=torch.Generator().manual_seed(1 + epoch))
        for rows in torch.split(order, 16):
            loss: Any = torch.nn.functional.cross_entropy(network(x[rows]), y[rows], reduction="sum")
            (loss / 16).backward()
            optimizer.step()
            optimizer.zero_grad()
    for ours, theirs in zip(fitted.network.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def test_each_epoch_has_an_order_of_its_own_of_all_rows() -> None:
    network = build_torch(Mlp(hidden=()), {}, (4,), 3)
    engine = TorchEngine(network, Torch.model_validate(SMALL), blobs(40), {}, torch.device("cpu"), 1)
    first, second, again = (engine.order(epoch).tolist() for epoch in (0, 1, 0))
    assert first == again != second
    assert sorted(first) == sorted(second) == list(range(40))


@pytest.mark.parametrize("weight", [None, np.linspace(1, 3, 96, dtype=np.float32)])
def test_batches_that_are_put_together_make_the_step_of_a_larger_one(tmp_path: Path, weight: Any) -> None:
    train = changed(blobs(96), weight=weight)
    once = fit(tmp_path / "once", train, batch=32)
    parts = fit(tmp_path / "parts", train, batch=8, accumulate=4)
    np.testing.assert_allclose(parts.scores(train.x), once.scores(train.x), atol=1e-5)


def test_a_clipped_gradient_moves_weights_no_further(tmp_path: Path) -> None:
    sgd = {"optimizer": {"name": "sgd", "learning_rate": 1.0, "momentum": 0.0}, "epochs": 1, "batch": 96}
    began = fit(tmp_path / "began", **sgd | {"optimizer": {"name": "sgd", "learning_rate": 1e-9, "momentum": 0.0}})
    clipped = fit(tmp_path / "clipped", **sgd, clip_norm=0.01)
    both = zip(began.network.parameters(), clipped.network.parameters(), strict=True)
    moved = sum(float(((a - b).detach() ** 2).sum()) for a, b in both) ** 0.5
    assert moved == pytest.approx(0.01, rel=1e-3)


def test_balanced_classes_weigh_the_same_whatever_their_rows(tmp_path: Path) -> None:
    many = blobs(600)
    assert many.y is not None
    kept = (many.y != 2) | (np.arange(600) % 30 == 2)  # a tenth of class 2
    x = many.x[kept] * 0.3  # closer together, so that what is rare is lost
    train = Samples(x, many.y[kept])
    found = {}
    for name in (None, "balanced"):
        fitted = fit(tmp_path / str(name), train, class_weights=name, epochs=20)
        found[name] = (fitted.scores(many.x * 0.3).argmax(axis=1) == 2).mean()
    assert found[None] < 0.15
    assert found["balanced"] > 0.25


def test_in_bfloat16_it_learns_as_well_and_writes_float32(tmp_path: Path) -> None:
    train = blobs(240)
    fitted = fit(tmp_path, train, precision="bfloat16", epochs=15, optimizer={"learning_rate": 0.02})
    assert fitted.facts["precision"] == "bfloat16"
    assert (fitted.scores(train.x).argmax(axis=1) == train.y).mean() > 0.85
    assert {one.dtype for one in fitted.network.parameters()} == {torch.float32}


def test_what_this_machine_can_not_compute_in_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="float16 on a CPU: it is for GPUs; name bfloat16"):
        fit(tmp_path, precision="float16")
    if not torch.cuda.is_available():
        with pytest.raises(NetworkError, match="PyTorch finds none; set `device: auto`"):
            fit(tmp_path, device="cuda")


def test_a_loss_that_is_no_number_ends_it_with_its_epoch(tmp_path: Path) -> None:
    train = changed(line(96), x=line(96).x * 1e18)
    wild = {"optimizer": {"name": "sgd", "learning_rate": 10.0}, "epochs": 5}
    with pytest.raises(NetworkError, match=r"the loss is (nan|inf) in epoch \d+, expected a number; lower the"):
        fit(tmp_path, train, {"task": "regression", "classes": 0}, **wild)


def test_a_network_of_ones_own_that_fits_no_memory_is_refused_without_being_built(tmp_path: Path) -> None:
    text = "import torch\ndef build(shape, outputs):\n    return torch.nn.Linear(shape[0] * 10**10, outputs)\n"
    with pytest.raises(MemoryNeededError, match=r"about \d+.\d GiB of memory needed"):
        fit(tmp_path, context={"sources": {"net.py": text}}, network="net.py:build")


def test_memory_that_runs_out_on_the_way_is_told_as_that(tmp_path: Path) -> None:
    text = (
        "import torch\nclass Greedy(torch.nn.Module):\n    def __init__(self, n, m):\n        super().__init__()\n"
        "        self.layer = torch.nn.Linear(n, m)\n    def forward(self, x):\n        if self.training:\n"
        "            torch.empty(2**46)\n        return self.layer(x)\n"
        "def build(shape, outputs):\n    return Greedy(shape[0], outputs)\n"
    )
    with pytest.raises(MemoryNeededError, match="there is not enough memory .* take a smaller network or batch"):
        fit(tmp_path, context={"sources": {"net.py": text}}, network="net.py:build")


def test_what_others_draw_stays_as_it_was(tmp_path: Path) -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    fit(tmp_path)
    torch.testing.assert_close(torch.rand(3), expected)


def test_two_trainings_in_one_folder_are_refused(tmp_path: Path) -> None:
    with held_for_training(tmp_path), pytest.raises(DataError, match="another process does; wait for it, or end it"):
        fit(tmp_path)


def test_a_damaged_checkpoint_says_what_to_do(tmp_path: Path) -> None:
    fit(tmp_path)
    path = tmp_path / CHECKPOINT_FILE
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match="remove the file, and train again"):
        fit(tmp_path)


def test_batches_of_one_row_are_none_where_a_norm_needs_two(tmp_path: Path) -> None:
    fit(tmp_path, blobs(33), network={"kind": "mlp", "hidden": [8], "normalise": True}, batch=16)
    fit(tmp_path / "b", blobs(35), network={"kind": "mlp", "hidden": [8], "normalise": True}, batch=2, accumulate=4)


KILLED = """
import os, sys
from pathlib import Path
from tests.training.frameworks.test_torch_trainer import fit
def tell(stage, done, total):
    print(done, flush=True)
fit(Path(sys.argv[1]), context={"progress": tell}, epochs=60, checkpoint_steps=2)
"""


@pytest.mark.slow
def test_killed_for_good_it_goes_on_with_what_is_on_disk(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(one for one in sys.path if one)}
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        seen = next(int(line) for line in process.stdout if int(line) > 30)
        os.kill(process.pid, signal.SIGKILL)
    told: list[int] = []
    history = History()
    again = {"progress": lambda _stage, done, _total: told.append(done), "metric": history}
    resumed = fit(tmp_path, context=again, epochs=60, checkpoint_steps=2)
    whole = fit(tmp_path / "whole", epochs=60, checkpoint_steps=2)
    x = blobs(96).x
    np.testing.assert_array_equal(resumed.scores(x), whole.scores(x))
    assert told[0] >= seen, "it went on from a checkpoint, not from the beginning"
    assert len(history.points["train_loss"]) == 60
