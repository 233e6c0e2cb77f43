"""A model as compression sees it: the bytes of one file, its form, and how it is called."""

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final, Literal, Self

from shoal_compression.errors import SourceError
from shoal_contract.manifest import TensorSpec
from shoal_contract.reported import Runtime

Form = Literal["keras", "onnx", "tflite", "torch"]
RUNTIMES: Final[dict[Form, Runtime]] = {"onnx": "onnxruntime", "tflite": "litert"}
"""What loads a form on a device; a model of Keras or PyTorch has to be converted first."""
_NAMES: Final[dict[Form, str]] = {
    "keras": "a Keras model",
    "onnx": "an ONNX model",
    "tflite": "a LiteRT model",
    "torch": "a PyTorch model",
}
MAX_MODEL_BYTES: Final = 2_000_000_000
"""Of a file: ONNX and LiteRT keep a model in one message, which their formats hold below 2 GiB."""


@dataclass(frozen=True)
class Model:
    """One file that can be run. A technique takes one and gives another: none is ever changed in place."""

    form: Form
    content: bytes
    """The file: `.keras`, `.onnx` (weights inside), `.tflite`, or a program that `torch.export.save` wrote (`.pt2`)."""
    inputs: tuple[TensorSpec, ...]
    """In the order of the file; a first size of -1 is the batch."""
    outputs: tuple[TensorSpec, ...]
    precision: str = "float32"
    """Of weights and activations, as the variant's page names it: `int8`, `float16`, `int4 weights`."""

    def __post_init__(self) -> None:
        """See that the file is one that the runtimes can load.

        Raises:
            SourceError: It is empty or too large.
        """
        if not 0 < len(self.content) <= MAX_MODEL_BYTES:
            found = f"{len(self.content)} bytes found, expected 1 to {MAX_MODEL_BYTES}"
            raise SourceError(f"taking {self.described}: {found}; keep its weights in one file of that size")

    @cached_property
    def sha256(self) -> str:
        """Hash of the file, in hex."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def described(self) -> str:
        """What it is, for a sentence: `an ONNX model`."""
        return _NAMES[self.form]

    @property
    def size_bytes(self) -> int:
        """Size of the file."""
        return len(self.content)

    @property
    def is_batched(self) -> bool:
        """Whether the first axis of every input is the batch; otherwise a request is one sample as it stands."""
        return all(spec.shape and spec.shape[0] == -1 for spec in self.inputs)

    def with_content(self, content: bytes, *, form: Form | None = None, precision: str | None = None) -> Self:
        """Return a model with another file that is called in the same way."""
        return replace(self, content=content, form=form or self.form, precision=precision or self.precision)
