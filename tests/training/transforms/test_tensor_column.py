"""Steps on tensors: fitted on each channel, done to each value, the same on a device, and the shape stays."""

from typing import Any

import numpy as np
import onnxruntime
import pyarrow as pa
import pytest

from shoal_training.errors import DataError
from shoal_training.ingestion.tensors import tensor_array
from shoal_training.transforms import tensor_column
from shoal_training.transforms.fit_preparation import fit_preparation
from shoal_training.transforms.preparation import PREPARED
from shoal_training.transforms.steps import BY_KIND

RANDOM = np.random.default_rng(0)
WINDOWS = (RANDOM.normal(size=(40, 10, 3)) * [1, 20, 300] + [0, 5, -70]).astype(np.float32)
TABLE = pa.table({"window": tensor_array(WINDOWS)})
STEPS: list[tuple[str, dict[str, Any]]] = [
    ("standardize", {}),
    ("min_max", {"columns": ["window"]}),
    ("robust", {}),
    ("clip", {"low_quantile": 0.1, "high": 60}),
    ("log", {"is_signed": True}),
    ("impute", {"strategy": "mean"}),
]


def both(table: pa.Table, *steps: tuple[str, dict[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    """Return what the table's way and a device's make of the same rows."""
    preparation = fit_preparation(table, ["window"], [BY_KIND[kind].model_validate(fields) for kind, fields in steps])
    graph: Any = preparation.graph()
    session: Any = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    return preparation.prepared(table), session.run([PREPARED], preparation.arrays(table))[0]


@pytest.mark.parametrize(("kind", "fields"), STEPS)
def test_a_device_computes_each_step_as_the_table_does(kind: str, fields: dict[str, Any]) -> None:
    holes = WINDOWS.copy()
    holes[3, 2, 1] = np.nan
    expected, found = both(pa.table({"window": tensor_array(holes)}), (kind, fields))
    assert found.shape == holes.shape
    np.testing.assert_allclose(found, expected, rtol=2e-6, atol=1e-6)


def test_channels_are_brought_to_one_scale_each_wherever_in_a_window_their_values_stand() -> None:
    _, found = both(TABLE, ("clip", {"low": -1e4, "high": 1e4}), ("standardize", {}))
    np.testing.assert_allclose(found.mean(axis=(0, 1)), 0, atol=1e-5)
    np.testing.assert_allclose(found.std(axis=(0, 1)), 1, atol=1e-5)
    np.testing.assert_allclose(
        found[0, :, 1], (WINDOWS[0, :, 1] - WINDOWS[..., 1].mean()) / WINDOWS[..., 1].std(), atol=1e-4
    )


def test_scales_are_told_as_one_factor_and_shift_and_other_steps_are_none() -> None:
    scales = fit_preparation(TABLE, ["window"], [BY_KIND[kind].model_validate({}) for kind in ("robust", "min_max")])
    assert scales.affine is not None
    expected = WINDOWS * np.array(scales.affine.factor) + np.array(scales.affine.shift)
    np.testing.assert_allclose(scales.prepared(TABLE), expected, atol=1e-6)
    clipped = BY_KIND["clip"].model_validate({"high": 60})
    assert fit_preparation(TABLE, ["window"], [BY_KIND["robust"].model_validate({}), clipped]).affine is None


def test_of_many_rows_some_are_fitted_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensor_column, "FITTED_VALUES", 10 * 3 * 8)
    _, found = both(TABLE, ("standardize", {}))
    some = WINDOWS[::5]
    np.testing.assert_allclose(found, (WINDOWS - some.mean(axis=(0, 1))) / some.std(axis=(0, 1)), atol=1e-3)


@pytest.mark.parametrize(
    ("kind", "fields", "said"),
    [
        ("one_hot", {}, "one_hot: the column window holds a tensor a row; steps for those are impute"),
        ("impute", {"is_marked": True}, "impute adds columns, and window holds a tensor a row"),
        ("clip", {"columns": ["other"], "low": 0}, "clip: there is no column other, only window"),
    ],
)
def test_what_a_tensor_can_not_have_is_refused(kind: str, fields: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        fit_preparation(TABLE, ["window"], [BY_KIND[kind].model_validate(fields)])
