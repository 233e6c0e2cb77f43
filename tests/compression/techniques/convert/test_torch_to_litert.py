"""PyTorch's exported programs as LiteRT: what stands in the way, and one real conversion in its own environment."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.compression.zoo import spec

from shoal_compression.budget import Budget
from shoal_compression.comparing import sqnr_db
from shoal_compression.data import Data, Samples
from shoal_compression.errors import SourceError, TechniqueError
from shoal_compression.litert_torch_environment import VARIABLE, install
from shoal_compression.model import Model
from shoal_compression.original import read_original
from shoal_compression.running import outputs_of
from shoal_compression.techniques.convert.torch_to_litert import TorchToLitert

INSTALL_S = 1_800


def _model(weight: float = 0.1) -> Model:
    torch.manual_seed(0)
    last = torch.nn.Linear(256, 3)
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.ReLU(), torch.nn.Flatten(), last)
    with torch.no_grad():
        last.bias[0] = weight
    file = io.BytesIO()
    torch.export.save(torch.export.export(network.eval(), (torch.zeros(1, 1, 8, 8),)), file)
    return Model("torch", file.getvalue(), (spec("image", 1, 1, 8, 8),), (spec("scores", 1, 3),))


@pytest.fixture
def data() -> Data:
    samples = Samples({"image": np.random.default_rng(0).normal(size=(8, 1, 1, 8, 8)).astype(np.float32)})
    return Data(samples, samples)


def test_a_missing_environment_says_how_to_make_it(data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "none"))
    with pytest.raises(TechniqueError, match="make it once with `python -m shoal_compression.litert_torch"):
        TorchToLitert().apply(_model(), data, Budget())


def test_a_program_in_a_file_is_an_original_like_others(data: Data, tmp_path: Path) -> None:
    (tmp_path / "net.pt2").write_bytes(_model().content)
    np.savez(tmp_path / "seen.npz", allow_pickle=False, x=data.test.inputs["image"])
    original = read_original(tmp_path / "net.pt2", tmp_path / "seen.npz")
    assert original.start(TorchToLitert()) == original.reference
    assert (original.reference.inputs, original.reference.outputs) == (
        (spec("input", 1, 1, 8, 8),),
        (spec("linear", 1, 3),),
    )
    answers = outputs_of(original.reference, original.data.test)["linear"]
    assert answers.shape == (len(original.data.test), 1, 3)


def test_an_open_batch_is_refused_before_anything_is_started(data: Data) -> None:
    model = _model()
    opened = Model("torch", model.content, (spec("image", -1, 1, 8, 8),), model.outputs)
    flat = Samples({"image": data.test.inputs["image"][:, 0]})
    with pytest.raises(TechniqueError, match="export it with a batch of 1"):
        TorchToLitert().apply(opened, Data(flat, flat), Budget())


def test_a_weight_that_is_not_a_number_is_named(data: Data) -> None:
    with pytest.raises(SourceError, match=r"the weight 3.bias has nan or infinity in 1 places"):
        TorchToLitert().apply(_model(float("nan")), data, Budget())


def test_what_is_no_program_is_refused(data: Data) -> None:
    with pytest.raises(SourceError, match="torch.export.save"):
        TorchToLitert().apply(_model().with_content(b"pickle"), data, Budget())


@pytest.mark.slow
@pytest.mark.timeout(INSTALL_S)
def test_litert_answers_as_pytorch_does(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(__file__).parents[4] / ".cache" / "litert-torch"
    install(folder)
    monkeypatch.setenv(VARIABLE, str(folder))
    model = _model()
    made = TorchToLitert().apply(model, data, Budget())
    assert (made.form, made.inputs, made.outputs) == ("tflite", model.inputs, model.outputs)
    answers = [outputs_of(one, data.test)["scores"] for one in (model, made)]
    assert sqnr_db(*answers) > 80
    assert TorchToLitert().apply(model, data, Budget()).sha256 == made.sha256
