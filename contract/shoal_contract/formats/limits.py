"""What the checks of device files share: their bounds, their error, and how much of a tensor fits."""

import math
import mmap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from shoal_contract.errors import ContractError
from shoal_contract.limits import MAX_ARTIFACT_BYTES

FileBytes = bytes | mmap.mmap
"""A whole file; a memory map costs the pages that are looked at."""
STANDARD_DOMAINS: Final = frozenset({"", "ai.onnx", "ai.onnx.ml"})
"""The operator domains of the ONNX specification itself."""


class FormatError(ContractError):
    """A file is not of a format that devices take, or asks for more than its own bytes.

    Args:
        message: What was found and what was expected.
        remedy: What the person who made the file should do.
    """

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


@dataclass(frozen=True)
class FormatLimits:
    """How much a device file may ask for.

    Attributes:
        max_tensor_bytes: The most memory that one tensor of the file may declare.
        onnx_domains: Operator domains that ONNX nodes may use besides the file's own functions; None for any that the
            runtime has built in.
        litert_custom_ops: Names of custom LiteRT operators; None for any that the runtime has built in.
    """

    max_tensor_bytes: int = MAX_ARTIFACT_BYTES
    onnx_domains: frozenset[str] | None = STANDARD_DOMAINS
    litert_custom_ops: frozenset[str] | None = frozenset()


DEFAULT_LIMITS: Final = FormatLimits()
RUNTIME_LIMITS: Final = FormatLimits(onnx_domains=None, litert_custom_ops=None)
"""The device's own check: operators that its runtime lacks do not load there, and it loads no library of operators."""


MAX_DIMENSIONS: Final = 64
"""Of one tensor; no runtime has as many. It bounds what multiplying them costs."""
_LARGEST_SIZE: Final = 2**63 - 1
_EXPORT_AGAIN: Final = "export the model again; no runtime loads such a tensor"


def check_tensor_size(name: str, shape: Sequence[int], element_bits: int, limits: FormatLimits) -> None:
    """Check what a tensor declares.

    Raises:
        FormatError: It has too many sizes, one is no size, or all of it is more than one tensor may have.
    """
    tensor = f"its tensor {name[:64]!r} declares"
    if len(shape) > MAX_DIMENSIONS:
        raise FormatError(f"{tensor} {len(shape)} dimensions, at most {MAX_DIMENSIONS} are allowed", _EXPORT_AGAIN)
    if not all(0 <= size <= _LARGEST_SIZE for size in shape):
        raise FormatError(f"{tensor} a size that is not one, 0 to 2^63 - 1 expected", _EXPORT_AGAIN)
    size_bytes = math.prod(shape) * element_bits // 8
    if size_bytes > limits.max_tensor_bytes:
        raise FormatError(
            f"{tensor} {size_bytes} bytes, at most {limits.max_tensor_bytes} bytes are allowed",
            "use a smaller model, or raise SHOAL_MAX_TENSOR_BYTES at the hub if the devices have the memory",
        )
