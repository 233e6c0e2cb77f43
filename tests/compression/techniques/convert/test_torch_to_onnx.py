"""PyTorch's exported programs as ONNX: names, open batches, what is computed, and what stands in the way."""

import io

import numpy as np
import onnx
import pytest
import torch
from tests.compression.zoo import spec

from shoal_compression.budget import Budget
from shoal_compression.comparing import sqnr_db
from shoal_compression.data import Data, Samples
from shoal_compression.errors import TechniqueError
from shoal_compression.model import Model
from shoal_compression.running import outputs_of
from shoal_compression.techniques.convert.torch_to_onnx import TorchToOnnx
from shoal_compression.techniques.quantize.static import Int8Static


def _saved(network: torch.nn.Module, *, is_open: bool) -> Model:
    batch = torch.export.Dim("batch", min=1, max=1024)
    program = torch.export.export(
        network.eval(), (torch.zeros(2 if is_open else 1, 1, 8, 8),), dynamic_shapes=({0: batch},) if is_open else None
    )
    file = io.BytesIO()
    torch.export.save(program, file)
    first = -1 if is_open else 1
    return Model("torch", file.getvalue(), (spec("image", first, 1, 8, 8),), (spec("scores", first, 3),))


def _network() -> torch.nn.Module:
    torch.manual_seed(0)
    convolution = torch.nn.Conv2d(1, 4, 3, padding=1)
    return torch.nn.Sequential(convolution, torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(256, 3))


def _data(*, is_open: bool) -> Data:
    shape = (24, 1, 8, 8) if is_open else (24, 1, 1, 8, 8)
    samples = Samples({"image": np.random.default_rng(0).normal(size=shape).astype(np.float32)})
    return Data(samples, samples)


@pytest.mark.parametrize("is_open", [True, False])
def test_it_computes_the_same_under_the_same_names(is_open: bool) -> None:
    model, data = _saved(_network(), is_open=is_open), _data(is_open=is_open)
    made = TorchToOnnx().apply(model, data, Budget())
    assert (made.form, made.inputs, made.outputs) == ("onnx", model.inputs, model.outputs)
    assert sqnr_db(*(outputs_of(one, data.test)["scores"] for one in (model, made))) > 100
    proto = onnx.load_from_string(made.content)
    assert [one.name for one in (*proto.graph.input, *proto.graph.output)] == ["image", "scores"]
    assert not any(node.metadata_props for node in proto.graph.node), "nothing of the author's source"
    assert TorchToOnnx().apply(model, data, Budget()).sha256 == made.sha256


def test_what_techniques_for_onnx_do_next_works_on_it() -> None:
    model, data = _saved(_network(), is_open=True), _data(is_open=True)
    small = Int8Static().apply(TorchToOnnx().apply(model, data, Budget()), data, Budget())
    assert sqnr_db(*(outputs_of(one, data.test)["scores"] for one in (model, small))) > 20


class _Odd(torch.nn.Module):
    """Computes what ONNX has no operator for."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.linalg.eigvals(image[:, 0]).real[:, :3]


def test_an_operator_that_onnx_has_not_is_told_with_the_next_step() -> None:
    with pytest.raises(TechniqueError, match=r"converting a PyTorch model to ONNX: .*; replace that operator, or"):
        TorchToOnnx().apply(_saved(_Odd(), is_open=False), _data(is_open=False), Budget())
