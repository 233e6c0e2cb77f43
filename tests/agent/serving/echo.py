"""Models that answer what they are asked, one for each datatype: what the endpoint reads and writes shows."""

from collections.abc import Mapping

from tests.fixtures import tiny

from shoal_agent.engines import NUMPY_TYPES, Array, EngineSetup
from shoal_agent.serving import ServedModel
from shoal_contract.manifest import Datatype, TensorSpec, VersionManifest

NAMES: dict[str, Datatype] = {
    "object" if kind.kind == "O" else kind.name: name  # type: ignore[misc]
    for name, kind in NUMPY_TYPES.items()
}
"""Datatypes by numpy's names."""


class EchoEngine:
    """Gives back its input `x` as `y`, and keeps what it was given."""

    def __init__(self, datatype: Datatype, shape: tuple[int, ...] = (-1, 3)) -> None:
        self.inputs = (TensorSpec(name="x", datatype=datatype, shape=shape),)
        self.outputs = (TensorSpec(name="y", datatype=datatype, shape=shape),)
        self.given: list[Array] = []

    setup = EngineSetup("echo")

    @property
    def is_in_use(self) -> bool:
        return False

    def infer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        self.given.append(inputs["x"])
        return {"y": inputs["x"]}

    def close(self) -> None:
        self.given.clear()


def served_echo(name: str, engine: EchoEngine) -> ServedModel:
    """An echo as the updater would hand it over."""
    fields = tiny.tiny_manifest(model=name).model_dump()
    manifest = VersionManifest.model_validate(fields | {"inputs": engine.inputs, "outputs": engine.outputs})
    return ServedModel(name, 1, manifest.variants[0].target, manifest, "0" * 64, engine)
