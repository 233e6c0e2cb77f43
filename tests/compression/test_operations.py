"""Bytes of weights, multiplications, energy: counted by hand for small graphs."""

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from tests.compression.zoo import spec

from shoal_compression.data import Samples
from shoal_compression.energy import EnergyMeter
from shoal_compression.latency import timings
from shoal_compression.measuring import gzip_bytes
from shoal_compression.model import Model
from shoal_compression.model_memory import model_memory_bytes
from shoal_compression.operations import contents


def network() -> Model:
    """A convolution of 3 by 3 from 2 to 4 channels on 8 by 8 with padding, then a product of 256 by 5."""
    weights = [
        numpy_helper.from_array(np.ones((4, 2, 3, 3), np.float32), "kernel"),
        numpy_helper.from_array(np.ones((256, 5), np.float32), "product"),
    ]
    nodes = [
        helper.make_node("Conv", ["x", "kernel"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Flatten", ["c"], ["f"]),
        helper.make_node("MatMul", ["f", "product"], ["y"]),
    ]
    ends = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2, 8, 8]),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 5]),
    ]
    graph = helper.make_graph(nodes, "counted", ends[:1], ends[1:], weights)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return Model("onnx", proto.SerializeToString(), (spec("x", -1, 2, 8, 8),), (spec("y", -1, 5),))


SAMPLES = Samples({"x": np.zeros((3, 2, 8, 8), np.float32)})


def test_operations_and_weights_are_counted_for_one_sample() -> None:
    held = contents(network(), SAMPLES)
    assert held.macs == 4 * 8 * 8 * 2 * 3 * 3 + 256 * 5
    assert held.weights_bytes == 4 * (4 * 2 * 3 * 3 + 256 * 5)


def test_a_file_travels_compressed() -> None:
    assert gzip_bytes(b"a" * 10_000) < 100


def test_models_are_timed_in_turns_and_memory_is_that_of_a_fresh_process() -> None:
    model = network()
    found = timings({"a": model, "b": model}, SAMPLES)
    assert all(0 < one.p50_ms <= one.p95_ms for one in found.values())
    memory = model_memory_bytes(model, SAMPLES)
    assert memory is not None
    assert model.size_bytes < memory < 100_000_000


def _package(root: Path, microjoules: int) -> None:
    folder = root / "intel-rapl:0"
    folder.mkdir(exist_ok=True)
    (folder / "energy_uj").write_text(f"{microjoules}\n")
    (folder / "max_energy_range_uj").write_text("1000000\n")


def test_energy_is_what_the_meter_rose_by_also_over_its_end(tmp_path: Path) -> None:
    _package(tmp_path, 100_000)
    meter = EnergyMeter(tmp_path)
    assert meter.millijoules(lambda: _package(tmp_path, 300_000), 10) == 20.0
    _package(tmp_path, 900_000)
    assert meter.millijoules(lambda: _package(tmp_path, 100_000), 10) == 20.0


def test_without_a_meter_nothing_is_said_of_energy(tmp_path: Path) -> None:
    done: list[int] = []
    assert EnergyMeter(tmp_path).millijoules(lambda: done.append(1), 1) is None
    assert done == []
