"""The figures that variants are compared by, wherever they were measured."""

from pydantic import Field

from shoal_compression.values import Record


class Measures(Record):
    """Figures of one file. None: not measured, or not measurable there."""

    size_bytes: int = Field(ge=1)
    gzip_bytes: int | None = None
    weights_bytes: int | None = None
    """Of the weights alone, their scales and zero points included."""
    latency_p50_ms: float | None = Field(default=None, ge=0)
    """Of one request with one sample, one thread."""
    latency_p95_ms: float | None = Field(default=None, ge=0)
    memory_bytes: int | None = Field(default=None, ge=0)
    """What a fresh process grows by at its peak."""
    energy_mj: float | None = Field(default=None, ge=0)
    """Of one request, where a meter is read."""
    macs: int | None = Field(default=None, ge=0)
    """Multiplications with addition of one sample."""
    accuracy: float | None = Field(default=None, ge=0, le=1)
    agreement: float | None = Field(default=None, ge=0, le=1)
    """With the source; stands for accuracy where there are no labels."""
    where: str = "here"
    """`here`: the machine that compressed; otherwise the device class that it was measured on."""
