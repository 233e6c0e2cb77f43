"""One round in the training child: learns from the device's examples, and says why when it can not."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from tests.fixtures import tiny_trainer
from tests.fixtures.tiny_trainer import BATCH, TRAINER, WEIGHTS, write_examples

from shoal_agent.federated.child import LiteRtTrainer, TrainingError, train
from shoal_agent.federated.dataset import DatasetError
from shoal_agent.federated.job import TrainingJob, TrainingResult
from shoal_numerics.update_coding import decode_update

pytest.importorskip("ai_edge_litert")


def base() -> list[NDArray[np.float32]]:
    tensors = load_file(WEIGHTS)
    return [tensors[key] for key in sorted(tensors)]


def job(folder: Path, **changes: Any) -> TrainingJob:
    folder.mkdir(exist_ok=True)
    fields: dict[str, Any] = {
        "trainer": TRAINER,
        "weights": WEIGHTS,
        "dataset": folder / "examples.npz",
        "update": folder / "update",
        "result": folder / "result.json",
        "epochs": 20,
        "batch_size": BATCH,
        "learning_rate": 0.1,
        "seed": 3,
        "update_scheme": "float32",
        "max_update_bytes": 100_000,
        "max_examples": 1000,
        "max_memory_bytes": 4 * 2**30,
        "max_cpu_s": 60,
        "nice": 0,
    }
    made = TrainingJob.model_validate(fields | changes)
    if not made.dataset.exists():
        write_examples(made.dataset)
    return made


def trained(folder: Path, **changes: Any) -> tuple[TrainingResult, list[NDArray[np.float32]]]:
    wanted = job(folder, **changes)
    result = train(wanted)
    return result, decode_update(wanted.update.read_bytes(), base(), wanted.max_update_bytes)


def test_the_loss_falls_and_the_update_decodes_against_the_rounds_weights(tmp_path: Path) -> None:
    result, weights = trained(tmp_path)
    assert result.loss_before is not None
    assert result.loss_after is not None
    assert result.loss_after < 0.6 * result.loss_before
    assert result.examples == 50
    assert result.peak_memory_bytes > 0
    assert [tensor.shape for tensor in weights] == [tensor.shape for tensor in base()]
    assert any(not np.array_equal(new, old) for new, old in zip(weights, base(), strict=True))

    # The update is what the loss speaks of: started from it, the loss before is the loss after.
    save_file({f"{index:03d}": tensor for index, tensor in enumerate(weights)}, tmp_path / "next.safetensors")
    again, _ = trained_from(tmp_path / "next.safetensors", tmp_path)
    assert again == pytest.approx(result.loss_after, rel=1e-5)


def trained_from(weights: Path, folder: Path) -> tuple[float | None, None]:
    return train(job(folder, weights=weights, epochs=1)).loss_before, None


def test_one_epoch_already_tells_a_loss_before_and_another_after(tmp_path: Path) -> None:
    result, _ = trained(tmp_path, epochs=1)
    assert result.loss_before != result.loss_after


def test_the_same_seed_gives_the_same_update(tmp_path: Path) -> None:
    first, second, other = (trained(tmp_path / name, seed=seed)[1] for name, seed in (("a", 1), ("b", 1), ("c", 2)))
    assert all(np.array_equal(one, two) for one, two in zip(first, second, strict=True))
    assert not all(np.array_equal(one, two) for one, two in zip(first, other, strict=True))


def test_an_int8_update_is_close_to_the_float32_one(tmp_path: Path) -> None:
    _, exact = trained(tmp_path / "a")
    _, coarse = trained(tmp_path / "b", update_scheme="int8")
    for one, two, old in zip(exact, coarse, base(), strict=True):
        assert np.abs(one - two).max() <= np.abs(one - old).max() / 100


def test_examples_that_fill_no_batch_count_as_much_as_others(tmp_path: Path) -> None:
    short = write_examples(tmp_path / "short.npz", BATCH + 1)
    assert trained(tmp_path, dataset=short)[0].examples == BATCH + 1


def test_no_more_examples_are_used_than_allowed(tmp_path: Path) -> None:
    assert trained(tmp_path, max_examples=10)[0].examples == 10


def _weights(path: Path, tensors: dict[str, NDArray[Any]]) -> Path:
    save_file(tensors, path)
    return path


def test_a_learning_rate_that_diverges_is_told(tmp_path: Path) -> None:
    x, y = tiny_trainer.examples()
    loud = write_examples(tmp_path / "loud.npz", x=x * 1e18, y=y)
    with pytest.raises(TrainingError, match="diverged.*lower the learning rate"):
        train(job(tmp_path, dataset=loud, learning_rate=10.0))


@pytest.mark.parametrize("size", [BATCH - 1, BATCH + 1])
def test_another_batch_size_than_the_trainers_is_told(tmp_path: Path, size: int) -> None:
    with pytest.raises(TrainingError, match=f"batches of {size}; the trainer takes"):
        train(job(tmp_path, batch_size=size))


def test_examples_of_another_shape_are_told(tmp_path: Path) -> None:
    wide = write_examples(tmp_path / "wide.npz", x=np.zeros((50, 5), dtype=np.float32))
    with pytest.raises(TrainingError, match=r"examples of shape \(5,\)"):
        train(job(tmp_path, dataset=wide))


def test_a_label_that_the_trainer_does_not_have_is_told(tmp_path: Path) -> None:
    labels = write_examples(tmp_path / "labels.npz", y=np.full(50, tiny_trainer.CLASSES, dtype=np.int32))
    with pytest.raises(TrainingError, match="label 3 found; the trainer has the labels 0 to 2"):
        train(job(tmp_path, dataset=labels))


def test_an_update_larger_than_the_round_allows_is_told(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="the round allows 10"):
        train(job(tmp_path, max_update_bytes=10))


def test_a_missing_dataset_is_told(tmp_path: Path) -> None:
    wanted = job(tmp_path)
    wanted.dataset.unlink()
    with pytest.raises(DatasetError, match="No such file"):
        train(wanted)


@pytest.mark.parametrize(
    "tensors",
    [{}, {"000": np.zeros((4, 6), dtype=np.float32)}, {f"{n:03d}": np.zeros(2, dtype=np.float32) for n in range(4)}],
    ids=["none", "too-few", "other-shapes"],
)
def test_weights_that_are_not_the_trainers_are_told(tmp_path: Path, tensors: dict[str, NDArray[Any]]) -> None:
    with pytest.raises(TrainingError, match="weights"):
        train(job(tmp_path, weights=_weights(tmp_path / "w.safetensors", tensors)))


def test_files_that_are_no_trainer_or_no_weights_are_told(tmp_path: Path) -> None:
    nonsense = tmp_path / "nonsense"
    nonsense.write_bytes(b"nonsense")
    with pytest.raises(TrainingError, match="loading the trainer"):
        train(job(tmp_path, trainer=nonsense))
    with pytest.raises(TrainingError, match="reading the round's weights"):
        train(job(tmp_path, weights=nonsense))
    with pytest.raises(TrainingError, match="loading the trainer"):
        LiteRtTrainer(Path(__file__).parents[2] / "fixtures" / "tiny_models" / "classify.tflite")
