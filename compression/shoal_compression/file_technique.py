"""A technique that works on a bundle of one input and one output, and writes the file of one target."""

from pathlib import Path
from typing import Literal, Protocol

from shoal_compression.source import Source
from shoal_contract.reported import Runtime

Format = Literal["tflite", "onnx"]


class FileTechnique(Protocol):
    """One way to make a variant. Input and output of the file keep the names and datatypes of the source."""

    @property
    def name(self) -> str:
        """What operators call it."""

    @property
    def target(self) -> str:
        """The device class that the variant is for."""

    @property
    def runtime(self) -> Runtime:
        """What loads the file."""

    @property
    def format(self) -> Format:
        """Form of the file, and its suffix."""

    @property
    def precision(self) -> str:
        """Of weights and activations."""

    @property
    def golden_tolerance(self) -> float:
        """Largest difference of an output that another processor's rounding may cause."""

    @property
    def tools(self) -> tuple[str, ...]:
        """The distributions that have a part in the file."""

    def apply(self, source: Source, out: Path) -> None:
        """Write the variant to `out`.

        Raises:
            CompressionError: The source cannot be compressed this way.
        """
