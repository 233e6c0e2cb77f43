"""Runs a fitted preparation both ways: on a table, and by ONNX Runtime as a device does."""

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pyarrow as pa

from shoal_training.onnx_samples import Array
from shoal_training.transforms.fit_preparation import fit_preparation
from shoal_training.transforms.preparation import PREPARED, Preparation
from shoal_training.transforms.step import Step


def fitted(table: pa.Table, *steps: Step) -> Preparation:
    return fit_preparation(table, table.column_names, steps)


class Both:
    """A preparation and its graph, loaded."""

    def __init__(self, preparation: Preparation) -> None:
        graph: Any = preparation.graph()
        onnx.checker.check_model(graph, full_check=True)
        self.preparation = preparation
        self._session: Any = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])

    def on_a_device(self, table: pa.Table) -> Array:
        """Return what the graph makes of rows; as samples of training are kept, texts pass through numpy's own type."""
        arrays = {
            name: array.astype(str).astype(object) if array.dtype == object else array
            for name, array in self.preparation.arrays(table).items()
        }
        return np.asarray(self._session.run([PREPARED], arrays)[0])

    def assert_same(self, table: pa.Table) -> None:
        """See that both ways agree in every row: the same NaN and infinities, numbers to the last places."""
        expected, found = self.preparation.prepared(table), self.on_a_device(table)
        assert expected.dtype == found.dtype == np.float32
        assert expected.shape == found.shape == (len(table), len(self.preparation.features))
        np.testing.assert_allclose(found, expected, rtol=2e-6, atol=1e-6)
