"""How latency is measured, and what is said of files that do not load."""

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from shoal_compression import latency
from shoal_compression.data import Samples
from shoal_compression.errors import TechniqueError
from shoal_compression.model import Model
from shoal_compression.original import read_original
from shoal_compression.running import Run, load
from shoal_contract.manifest import TensorSpec
from shoal_numerics.tensors import Array

SPECS = (TensorSpec(name="x", datatype="FP32", shape=(-1, 1)),)
SAMPLES = Samples({"x": np.zeros((5, 1), np.float32)})


def timed(monkeypatch: pytest.MonkeyPatch, runs: Mapping[str, Run]) -> dict[str, latency.Timing]:
    """Time these, each standing for a model whose file is its name."""
    monkeypatch.setattr(latency, "load", lambda model: runs[model.content.decode()])
    return latency.timings({name: Model("onnx", name.encode(), SPECS, SPECS) for name in runs}, SAMPLES)


def test_the_slower_model_has_the_higher_latency_in_ms(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(feeds: Mapping[str, Array]) -> dict[str, Array]:
        until = time.perf_counter() + 0.002
        while time.perf_counter() < until:
            pass
        return dict(feeds)

    found = timed(monkeypatch, {"slow": slow, "fast": dict})
    assert 2.0 <= found["slow"].p50_ms <= found["slow"].p95_ms
    assert found["fast"].p50_ms < found["slow"].p50_ms


def test_models_take_turns_with_one_sample_each(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, int]] = []

    def noting(name: str) -> Run:
        def run(feeds: Mapping[str, Array]) -> dict[str, Array]:
            calls.append((name, len(feeds["x"])))
            return dict(feeds)

        return run

    monkeypatch.setattr(latency, "_energy", lambda *_: None)
    timed(monkeypatch, {"a": noting("a"), "b": noting("b")})
    assert calls[-12:] == [("a", 1), ("b", 1)] * 6


def test_a_model_with_other_names_is_refused(bundle_dir: Path) -> None:
    with pytest.raises(TechniqueError, match=r"inputs \['image'\] and outputs .* found, expected \['x'\]"):
        load(replace(read_original(bundle_dir).reference, inputs=SPECS))
