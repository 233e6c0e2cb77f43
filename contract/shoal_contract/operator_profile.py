"""What each operator of a file took on a device, as its runtime has optimized the file; in columns, as it is long."""

from typing import Annotated, Final

from pydantic import Field, model_validator
from typing_extensions import Self

from shoal_contract.wire import WireValue

MAX_OPERATORS: Final = 512
"""Of one file; a longer one is told without its operators."""
MAX_OPERATOR_KINDS: Final = 64
"""Of one file."""
MAX_OPERATOR_FIGURE: Final = 10**15
"""Multiplications, bytes or elements of one operator."""
MAX_MICROSECONDS: Final = 1e10
_Figures = Annotated[tuple[Annotated[int, Field(ge=0, le=MAX_OPERATOR_FIGURE)], ...], Field(max_length=MAX_OPERATORS)]
_Times = Annotated[tuple[Annotated[float, Field(ge=0, le=MAX_MICROSECONDS)], ...], Field(max_length=MAX_OPERATORS)]
_Kind = Annotated[str, Field(min_length=1, max_length=96)]
_Place = Annotated[int, Field(ge=0, lt=MAX_OPERATOR_KINDS)]


class OperatorProfile(WireValue):
    """A column for each figure, a place in it for each operator in the order in which they run."""

    kinds: tuple[_Kind, ...] = Field(min_length=1, max_length=MAX_OPERATOR_KINDS)
    """Kind and datatype, such as `QLinearConv/2d depthwise uint8`."""
    kind: tuple[_Place, ...] = Field(min_length=1, max_length=MAX_OPERATORS)
    """Place in `kinds`."""
    macs: _Figures
    """Multiplications with addition."""
    input_bytes: _Figures
    """Weights included."""
    output_bytes: _Figures
    output_elements: _Figures
    times_us: _Times
    """With the profiler on, which adds to each."""

    @model_validator(mode="after")
    def _check_columns(self) -> Self:
        columns = (self.macs, self.input_bytes, self.output_bytes, self.output_elements, self.times_us)
        if any(len(one) != len(self.kind) for one in columns):
            msg = f"columns of {sorted({len(self.kind), *map(len, columns)})} operators found, expected as many in each"
            raise ValueError(msg)
        if max(self.kind) >= len(self.kinds):
            msg = f"an operator of kind {max(self.kind)} found, there are {len(self.kinds)} kinds"
            raise ValueError(msg)
        return self
