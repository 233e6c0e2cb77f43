"""Networks by name: what is known of them before they are built is what they are."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from shoal_training.errors import NetworkError
from shoal_training.frameworks.keras_networks import build_keras
from shoal_training.frameworks.layers import activations_of, parameters_of
from shoal_training.frameworks.networks import AnyNetwork, Cnn, Cnn1d, Mlp, Network, Own
from shoal_training.frameworks.own_network import build_own
from shoal_training.frameworks.torch_networks import build_torch, check_output

READ: TypeAdapter[Network] = TypeAdapter(AnyNetwork)
OWN = Own(build="net.py:build", parameters={"width": 3})
NETWORKS = [
    (Mlp(hidden=(5, 3), dropout=0.5, normalise=True, activation="gelu"), (4,)),
    (Mlp(hidden=()), (3, 2)),
    (Cnn(channels=(3, 4), kernel=5, normalise=True), (9, 6)),
    (Cnn(channels=(3,), activation="tanh"), (8, 8, 2)),
    (Cnn(channels=(3,), channels_axis="first"), (2, 8, 6)),
    (Cnn1d(channels=(3, 4, 5), kernel=7, activation="silu"), (10,)),
    (Cnn1d(channels=(3,), channels_axis="first", hidden=()), (2, 7)),
]


@pytest.mark.parametrize(("network", "shape"), NETWORKS)
def test_its_size_in_pytorch_is_known_before(network: Network, shape: tuple[int, ...]) -> None:
    layers = network.layers(shape, 2)
    assert layers is not None
    built = build_torch(network, {}, shape, 2)
    assert sum(one.numel() for one in built.parameters()) == parameters_of(layers)
    check_output(built, "it", shape, 2)


@pytest.mark.parametrize(("network", "shape"), NETWORKS)
def test_its_size_in_keras_is_the_same(network: Network, shape: tuple[int, ...]) -> None:
    layers = network.layers(shape, 2)
    assert layers is not None
    built = build_keras(network, {}, shape, 2, "float32")
    assert sum(one.value.numpy().size for one in built.trainable_variables) == parameters_of(layers)
    assert built.output_shape == (None, 2)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=4), st.integers(1, 40), st.integers(1, 40))
@settings(max_examples=40, deadline=None)
def test_layers_fit_each_other_whatever_the_size(channels: list[int], height: int, width: int) -> None:
    layers = Cnn(channels=tuple(channels)).layers((height, width), 3)
    assert all(before.gives == after.takes for before, after in pairwise(layers))
    assert layers[-1].gives == (3,)
    assert min(min(layer.gives) for layer in layers) >= 1
    assert activations_of(layers) >= height * width * channels[0]


def test_a_name_a_mapping_and_a_place_of_code_are_networks() -> None:
    assert READ.validate_python("cnn") == Cnn()
    assert READ.validate_python({"kind": "mlp", "hidden": [3]}) == Mlp(hidden=(3,))
    assert READ.validate_python("nets/mine.py:build") == Own(build="nets/mine.py:build")
    with pytest.raises(ValidationError, match="no network is called 'cnn2'; did you mean cnn"):
        READ.validate_python("cnn2")


@pytest.mark.parametrize("network", [Mlp(hidden=(7,)), Cnn(kernel=5), OWN])
def test_what_is_written_of_it_is_read_again(network: Network) -> None:
    assert READ.validate_python(network.model_dump(mode="json")) == network


def test_a_kernel_without_a_middle_is_refused() -> None:
    with pytest.raises(ValidationError, match="4 found, expected an odd number; take 5"):
        Cnn(kernel=4)


def test_a_cnn_of_rows_of_numbers_is_refused_with_what_it_takes() -> None:
    with pytest.raises(NetworkError, match=r"samples of shape \(30,\) found, expected \(height, width\) or"):
        Cnn().layers((30,), 2)


def own(text: str, **fields: Any) -> Any:
    return build_own(OWN.model_copy(update=fields), {"net.py": text}, (4,), 2)


def test_a_function_of_ones_own_gets_shape_outputs_and_its_parameters() -> None:
    assert own("def build(*given, **named):\n    return given, named\n") == (((4,), 2), {"width": 3})


def test_two_versions_of_a_file_live_beside_each_other() -> None:
    assert [own(f"def build(*_, **__):\n    return {at}\n") for at in (1, 2, 1)] == [1, 2, 1]


def test_what_fails_in_it_is_told_with_its_line() -> None:
    with pytest.raises(NetworkError, match="building net.py:build: ZeroDivisionError in line 2: .*; mend the file"):
        own("def build(*_, **__):\n    return 1 / 0\n")
    with pytest.raises(NetworkError, match="SyntaxError"):
        own("def build(:\n")
    with pytest.raises(NetworkError, match="the file has no function other"):
        own("def build(*_, **__):\n    return 1\n", build="net.py:other")


def test_what_is_no_network_is_refused() -> None:
    with pytest.raises(NetworkError, match=r"int found, expected a torch.nn.Module"):
        build_torch(OWN, {"net.py": "def build(*_, **__):\n    return 1\n"}, (4,), 2)
    with pytest.raises(NetworkError, match="int found, expected a keras.Model"):
        build_keras(OWN, {"net.py": "def build(*_, **__):\n    return 1\n"}, (4,), 2, "float32")
    wide = "import torch\ndef build(shape, outputs, width):\n    return torch.nn.Linear(shape[0], outputs + width)\n"
    with pytest.raises(NetworkError, match=r"two samples give \(2, 5\), expected \(2, 2\); end it with a layer of 2"):
        check_output(build_torch(OWN, {"net.py": wide}, (4,), 2), "it", (4,), 2)


def test_its_text_is_what_stands_in_the_file_beside_the_pipeline(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("one")
    assert OWN.sources(tmp_path) == {"net.py": "one"}
    with pytest.raises(NetworkError, match="name a file by its path from the pipeline file"):
        OWN.sources(tmp_path / "elsewhere")
