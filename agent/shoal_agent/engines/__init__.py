"""Runtimes behind one interface: load a variant's file, infer by tensor names, prove it by its golden output.

Knows nothing of HTTP or of slots. `Runtimes.load` is the way in for an agent, `load_engine` without the choice of how a
model runs best; `shoal_agent.serving` serves what they return.
"""

from shoal_agent.engines.cost import BeforeUse, CostMeter
from shoal_agent.engines.engine import CPU, Engine, EngineError, EngineSetup
from shoal_agent.engines.golden import GoldenMismatchError, golden_inputs, run_golden
from shoal_agent.engines.joining import join, split
from shoal_agent.engines.load import LoadEngine, load_engine, load_version
from shoal_agent.engines.runtimes import Machine, Runtimes
from shoal_agent.engines.warmup import Instruments
from shoal_numerics.tensors import NUMPY_TYPES, Array, bytes_array, from_tensor_data, to_tensor_data

__all__ = [
    "CPU",
    "NUMPY_TYPES",
    "Array",
    "BeforeUse",
    "CostMeter",
    "Engine",
    "EngineError",
    "EngineSetup",
    "GoldenMismatchError",
    "Instruments",
    "LoadEngine",
    "Machine",
    "Runtimes",
    "bytes_array",
    "from_tensor_data",
    "golden_inputs",
    "join",
    "load_engine",
    "load_version",
    "run_golden",
    "split",
    "to_tensor_data",
]
