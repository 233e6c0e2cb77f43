"""A request's arrays as the features that its version's baseline has: values, or statistics of each input."""

from dataclasses import replace

import numpy as np
import pytest
from tests.agent.serving.conftest import served_tiny
from tests.agent.serving.echo import EchoEngine, served_echo

from shoal_agent.engines import bytes_array
from shoal_agent.monitor.rows import rows_of
from shoal_agent.serving import ServedModel
from shoal_contract.manifest import Baseline

X = np.array([[1.0, 2.0, 3.0, 6.0], [0.0, 0.0, 0.0, 0.0]], dtype=np.float32)


def by_statistics(served: ServedModel) -> ServedModel:
    """A version whose four features are statistics of its input."""
    baseline = Baseline.model_validate(served.manifest.baseline.model_dump() | {"features_of": "statistics"})
    return replace(served, manifest=served.manifest.model_copy(update={"baseline": baseline}))


def test_values_are_their_own_features() -> None:
    np.testing.assert_array_equal(rows_of(served_tiny(), {"x": X}), X)


def test_where_the_baseline_has_statistics_each_sample_has_those_of_its_input() -> None:
    found = rows_of(by_statistics(served_tiny()), {"x": X})
    np.testing.assert_allclose(found, [[3.0, np.std(X[0]), 1.0, 6.0], [0.0, 0.0, 0.0, 0.0]], rtol=1e-5)


@pytest.mark.parametrize("x", [np.float32(1.0), np.zeros((0, 4), dtype=np.float32)])
def test_what_has_no_samples_has_no_rows(x: np.ndarray) -> None:  # type: ignore[type-arg]
    assert rows_of(by_statistics(served_tiny()), {"x": np.asarray(x)}).shape == (0, 4)


def test_text_has_no_rows() -> None:
    served = served_echo("echo", EchoEngine("BYTES"))
    assert len(rows_of(served, {"x": bytes_array([b"a", b"b", b"c"]).reshape(1, 3)})) == 0
