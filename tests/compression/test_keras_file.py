"""Keras files: what is refused before anything is loaded, and weights that go back in."""

import io
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from tests.compression.zoo import Case, digits, keras_model

from shoal_compression.errors import SourceError
from shoal_compression.keras_file import CONFIG, WEIGHTS, check_keras, open_keras, with_arrays
from shoal_compression.tensorflow_runtime import load_keras


@pytest.fixture
def case(bundle_dir: Path) -> Case:
    return digits(bundle_dir, "keras")


def _rewritten(content: bytes, **parts: bytes) -> bytes:
    names = {"config": CONFIG, "weights": WEIGHTS}
    replaced = {names[key]: part for key, part in parts.items()}
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(out, "w") as made:
        for name in source.namelist():
            made.writestr(name, replaced.get(name, source.read(name)))
    return out.getvalue()


def test_a_network_of_keras_layers_is_taken(case: Case) -> None:
    check_keras(case.model.content)


def test_what_is_no_keras_file_is_refused() -> None:
    with pytest.raises(SourceError, match=r"not a zip file; save the model with keras 3"):
        check_keras(b"onnx")


def test_a_weight_that_is_not_a_number_is_named(case: Case) -> None:
    with zipfile.ZipFile(io.BytesIO(case.model.content)) as archive:
        weights = io.BytesIO(archive.read(WEIGHTS))
    with h5py.File(weights, "r+") as file:
        file["layers/conv2d/vars/0"][0, 0, 0, 0] = np.nan
    with pytest.raises(SourceError, match=r"layers/conv2d/vars/0 has nan or infinity in 1 places; train it again"):
        check_keras(_rewritten(case.model.content, weights=weights.getvalue()))


def test_a_layer_of_the_author_s_own_is_named() -> None:
    keras = load_keras()

    @keras.saving.register_keras_serializable(package="farm")
    class Wind(keras.layers.Layer):  # type: ignore[name-defined]
        def call(self, x: Any) -> Any:
            return x * 2

    model = keras_model(keras.Sequential([keras.layers.Input((4,), name="x"), Wind(name="gust")]))
    with pytest.raises(SourceError, match=r"gust is a Wind of farm>Wind, expected layers and functions of Keras"):
        check_keras(model.content)


def test_a_layer_that_carries_code_is_named() -> None:
    keras = load_keras()
    twice = keras.layers.Lambda(lambda x: x * 2, name="twice")
    model = keras_model(keras.Sequential([keras.layers.Input((4,), name="x"), twice]))
    with pytest.raises(SourceError, match=r"twice is a Lambda"):
        check_keras(model.content)


def test_a_layer_that_keras_does_not_know_is_an_error_of_the_source(case: Case) -> None:
    with zipfile.ZipFile(io.BytesIO(case.model.content)) as archive:
        config = archive.read(CONFIG).replace(b'"Flatten"', b'"Flatter"')
    with pytest.raises(SourceError, match="Flatter"):
        open_keras(case.model.with_content(_rewritten(case.model.content, config=config)))


def test_the_same_weights_make_the_same_file(case: Case) -> None:
    arrays = {"hidden": [np.ones((512, 64), np.float32), np.zeros(64, np.float32)]}
    first, second = (with_arrays(case.model, arrays, "float32") for _ in range(2))
    assert first.content == second.content
    np.testing.assert_array_equal(open_keras(first).get_layer("hidden").kernel, arrays["hidden"][0])
    kept = [open_keras(one).get_layer("conv1").kernel for one in (case.model, first)]
    np.testing.assert_array_equal(*kept)
