"""Runtimes behind one interface: load a variant's file, infer by tensor names, prove it by its golden output.

Knows nothing of HTTP or of slots. `load_engine` is the one way in; `shoal_agent.serving` serves what it returns.
"""

from shoal_agent.engines.cost import BeforeUse, CostMeter
from shoal_agent.engines.engine import Engine, EngineError
from shoal_agent.engines.golden import GoldenMismatchError, run_golden
from shoal_agent.engines.load import LoadEngine, load_engine
from shoal_agent.engines.tensors import NUMPY_TYPES, Array, bytes_array, from_tensor_data, to_tensor_data

__all__ = [
    "NUMPY_TYPES",
    "Array",
    "BeforeUse",
    "CostMeter",
    "Engine",
    "EngineError",
    "GoldenMismatchError",
    "LoadEngine",
    "bytes_array",
    "from_tensor_data",
    "load_engine",
    "run_golden",
    "to_tensor_data",
]
