"""Networks by name, as a pipeline file says them; `layers` says what they are made of, each framework builds them."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import (
    BeforeValidator,
    Field,
    SerializeAsAny,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
)

from shoal_compression.values import Value
from shoal_training.errors import NetworkError
from shoal_training.frameworks.layers import Chain, Layer, Shape
from shoal_training.named_kinds import by_kind

Activation = Literal["relu", "gelu", "silu", "tanh"]
Size = Annotated[int, Field(ge=1, le=1_048_576)]
Ratio = Annotated[float, Field(ge=0, lt=1)]
OWN_PATTERN: Final = r"^[^:\s][^:]*\.py:[A-Za-z_][A-Za-z0-9_]*$"


class Network(Value, ABC):
    """What is trained. Subclasses name their `kind` and declare fields."""

    kind: ClassVar[str]

    @model_serializer(mode="wrap")
    def _with_kind(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {"kind": self.kind, **plain(self)}

    @abstractmethod
    def layers(self, shape: Shape, outputs: int) -> tuple[Layer, ...] | None:
        """Return its layers; None: only its own code knows them.

        Args:
            shape: Of one sample.
            outputs: Numbers that it gives for one: logits of classes, or one.

        Raises:
            NetworkError: It does not take samples of that shape.
        """

    def sources(self, folder: Path) -> dict[str, str]:  # noqa: ARG002 - for those that have some
        """Return the files beside the pipeline file that it is made by, text by name as its fields give it.

        Raises:
            NetworkError: One can not be read.
        """
        return {}


class _Sized(Network, ABC):
    activation: Activation = "relu"
    dropout: Ratio = 0.0
    """Share of the numbers behind each hidden dense layer."""
    normalise: bool = False
    """Whether each hidden layer is normalised over the batch."""

    def _activate(self, chain: Chain) -> None:
        if self.normalise:
            chain.norm()
        chain.activation(self.activation)

    def _head(self, chain: Chain, hidden: tuple[int, ...], outputs: int) -> tuple[Layer, ...]:
        chain.flatten()
        for units in hidden:
            chain.dense(units)
            self._activate(chain)
            chain.dropout(self.dropout)
        chain.dense(outputs)
        return chain.layers


class Mlp(_Sized):
    """Dense layers behind each other; samples of any shape are made rows of numbers."""

    kind: ClassVar[str] = "mlp"

    hidden: Annotated[tuple[Size, ...], Field(max_length=64)] = (64, 64)
    """Units of each hidden layer."""

    def layers(self, shape: Shape, outputs: int) -> tuple[Layer, ...]:
        """See `Network`."""
        return self._head(Chain(shape), self.hidden, outputs)


class _Convolutional(_Sized, ABC):
    axes: ClassVar[int]
    named: ClassVar[str]

    channels: Annotated[tuple[Size, ...], Field(min_length=1, max_length=32)] = (16, 32)
    """Of each convolution; behind each, sizes are halved as long as they are above 1."""
    kernel: int = Field(default=3, ge=1, le=63)
    """An odd number: frameworks pad others differently."""
    hidden: Annotated[tuple[Size, ...], Field(max_length=64)] = (64,)
    """Units of dense layers behind them."""
    channels_axis: Literal["first", "last"] = "last"
    """Where the channels of a sample lie, if it has an axis of them."""

    @field_validator("kernel")
    @classmethod
    def _check_odd(cls, kernel: int) -> int:
        if kernel % 2 == 0:
            raise ValueError(f"{kernel} found, expected an odd number; take {kernel + 1}")
        return kernel

    def layers(self, shape: Shape, outputs: int) -> tuple[Layer, ...]:
        """See `Network`."""
        if len(shape) not in {self.axes, self.axes + 1}:
            raise NetworkError(
                f"building a {self.kind}: samples of shape {shape} found, expected ({self.named}) or "
                f"({self.named}, channels); name another network, such as mlp"
            )
        chain = Chain(shape)
        chain.channels(are_first=self.channels_axis == "first", are_missing=len(shape) == self.axes)
        for count in self.channels:
            chain.convolution(count, self.kernel)
            self._activate(chain)
            chain.pool()
        return self._head(chain, self.hidden, outputs)


class Cnn(_Convolutional):
    """Convolutions over images."""

    kind: ClassVar[str] = "cnn"
    axes: ClassVar[int] = 2
    named: ClassVar[str] = "height, width"


class Cnn1d(_Convolutional):
    """Convolutions over windows of time."""

    kind: ClassVar[str] = "cnn1d"
    axes: ClassVar[int] = 1
    named: ClassVar[str] = "steps"


class Own(Network):
    """A network of one's own: a function in a file beside the pipeline file.

    The file stands alone: what it is made of is known by its content, and files that it would import from beside it
    are not part of that.
    """

    kind: ClassVar[str] = "own"

    build: str = Field(pattern=OWN_PATTERN, max_length=4096)
    """`FILE.py:FUNCTION`; called with the shape of a sample and the number of outputs, it returns a torch.nn.Module or
    a keras.Model from (n, ...) to (n, outputs): logits, or numbers."""
    parameters: dict[str, Any] = Field(default_factory=dict, max_length=64)
    """That it is called with beside."""

    def layers(self, shape: Shape, outputs: int) -> None:
        """See `Network`."""

    @property
    def file(self) -> str:
        """The file as it is named."""
        return self.build.rpartition(":")[0]

    @property
    def function(self) -> str:
        """The function in it."""
        return self.build.rpartition(":")[2]

    def sources(self, folder: Path) -> dict[str, str]:
        """See `Network`."""
        try:
            return {self.file: (folder / self.file).read_text()}
        except (OSError, UnicodeDecodeError) as error:
            raise NetworkError(
                f"reading the network {self.build}: {error}; name a file by its path from the pipeline file"
            ) from error


BY_KIND: Final[dict[str, type[Network]]] = {one.kind: one for one in (Mlp, Cnn, Cnn1d, Own)}
_make = by_kind("network", BY_KIND)


def _any_network(given: object) -> object:
    return Own(build=given) if isinstance(given, str) and ".py:" in given else _make(given)


AnyNetwork = Annotated[SerializeAsAny[Network], BeforeValidator(_any_network)]
"""A network with its fields; in a file a mapping whose `kind` names it, its name alone, or `FILE.py:FUNCTION`."""
