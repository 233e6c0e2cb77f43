"""What the hub's job makes for one target of a bundle of one input and one output: a recipe's steps, and their file."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Literal

from shoal_compression.budget import Budget
from shoal_compression.data import Data, Samples
from shoal_compression.model import Form, Model
from shoal_compression.source import Source
from shoal_compression.technique import Technique
from shoal_contract.reported import Runtime

Format = Literal["tflite", "onnx"]


class FileTechnique(ABC):
    """One way to make a variant. Input and output of the file keep the names and datatypes of the source."""

    name: str
    """What operators call it."""
    target: str
    """The device class that the variant is for."""
    runtime: Runtime
    """What loads the file."""
    format: Format
    """Form of the file, and its suffix."""
    precision: str
    """Of weights and activations."""
    golden_tolerance: float
    """Largest difference of an output that another processor's rounding may cause."""

    @property
    @abstractmethod
    def steps(self) -> tuple[Technique, ...]:
        """What is done in turn."""

    @property
    def tools(self) -> tuple[str, ...]:
        """The distributions that have a part in the file."""
        return tuple(dict.fromkeys(tool for step in self.steps for tool in step.tools))

    def apply(self, source: Source, out: Path) -> None:
        """Write the variant to `out`.

        Raises:
            CompressionError: The source cannot be compressed this way.
        """
        model, data = _model(source, self.steps[0]), _data(source)
        for step in self.steps:
            model = step.apply(model, data, Budget(seed=source.seed))
        out.write_bytes(model.content)


def _model(source: Source, first: Technique) -> Model:
    form: Form = "onnx" if "onnx" in first.takes else "keras"
    path = source.onnx_path if form == "onnx" else source.keras_path
    return Model(form, path.read_bytes(), (source.input,), (source.output,))


def _data(source: Source) -> Data:
    name = source.input.name
    return Data(Samples({name: source.calibration_x}), Samples({name: source.test_x}, source.test_y))
