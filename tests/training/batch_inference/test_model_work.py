"""A row of the baseline's features is answered, or refused, as a device does."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from tests.training.batch_inference.models import COLUMNS, WEIGHTS, linear_bundle

from shoal_numerics.processing.pipeline import Declared, Pipeline
from shoal_training.batch_inference.model_work import Asked, work_of
from shoal_training.batch_inference.parts import Origin, Part

GOOD = [[1.0, 2.0, 3.0], [0.5, -1.0, 0.0], [4.0, 4.0, 4.0]]
BAD = [[1.0, None, 3.0], [float("inf"), 2.0, 3.0], [1.0, 2.0, float("nan")], [1e39, 1.0, 1.0]]


@pytest.mark.parametrize("rows", [GOOD, [GOOD[0], *BAD, *GOOD[1:]], BAD[:1]])
@pytest.mark.parametrize("has_text", [False, True])
def test_rows_of_the_baseline_s_features_are_refused_as_on_a_device(
    tmp_path: Path, rows: list[list[float | None]], *, has_text: bool
) -> None:
    work = work_of(linear_bundle(tmp_path / "bundle"), Asked(batch_rows=100, is_strict=False), COLUMNS)
    columns = {name: [row[at] for row in rows] for at, name in enumerate(COLUMNS)}
    kinds = dict.fromkeys(COLUMNS, pa.float64()) | ({"a": pa.string()} if has_text else {})
    table = pa.table({name: pa.array(column, pa.float64()).cast(kinds[name]) for name, column in columns.items()})
    part = Part(number=1, rows=len(rows), origins=(Origin(source="rows.csv", first=1, rows=len(rows)),))
    hub = work(part, table)

    bundle = work.bundle
    device = Pipeline(Declared(bundle.inputs, bundle.outputs, bundle.labels, bundle.processing, COLUMNS))
    sent = {name: np.array(column, dtype=np.object_) for name, column in columns.items()}
    wanted = device.prepare(sent, len(rows))
    assert sorted(hub.refused) == sorted(wanted.refused)
    if not has_text:
        assert hub.refused == wanted.refused
    scores = [] if hub.table is None else hub.table["scores"].to_pylist()
    with np.errstate(invalid="ignore"):  # 1e39 is inf as FP32, here and there
        expected = wanted.inputs["x"] @ WEIGHTS
    np.testing.assert_allclose(np.reshape(scores, (-1, 2)), expected, rtol=1e-6)
