"""The client's calls without an endpoint: the models that the device serves, in the caller's own process.

The agent's folder is only read; the agent may run or not. What is predicted here, no monitor sees.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import quote

import numpy as np
from typing_extensions import Self

from shoal_agent.client_connection import stream_predictions
from shoal_agent.endpoint import RequestError
from shoal_agent.endpoint.message import NOT_FOUND, UNPROCESSABLE
from shoal_agent.engines import Array
from shoal_agent.errors import AgentError
from shoal_agent.followed_model import FollowedModel
from shoal_agent.local_endpoint import ask, endpoint_of
from shoal_agent.serving import Inference, ModelServer, ServedModel, ServingSettings
from shoal_agent.serving.decode import InferRequest, check_finite, check_names, check_shape
from shoal_agent.serving.entities import Entity
from shoal_agent.serving.friendly import REMEDY, FriendlyCall
from shoal_agent.serving.infer import Answer, Question
from shoal_agent.serving.models import Absence
from shoal_agent.serving.predict import only_model, wanted_version
from shoal_agent.serving.resolve import resolve
from shoal_agent.serving.wire import datatype_of
from shoal_agent.settings import MEGABYTE
from shoal_agent.slots import known_models
from shoal_contract.telemetry import Misfit

Result = TypeVar("Result")
_DOING: Final = "asking the models in this process"


class _Nobody:
    """An observer that looks away."""

    def observe(self, *_: object) -> None:
        """See nothing."""

    def observe_error(self, _: ServedModel, misfit: Misfit | None = None) -> None:
        """See nothing."""


class _Value(NamedTuple):
    """A feature as the agent tells it."""

    value: float | None
    age_s: float | None
    is_fallback: bool


class InProcessClient:
    """The calls of `shoal_agent.client.Client`, with their results. Not for several threads.

    Args:
        data: The agent's folder.
        cache_mb: What answers that are kept for inputs that come again may take; 0: none is kept.
    """

    def __init__(self, data: Path, cache_mb: int = 0) -> None:
        self._data = data
        self._settings = ServingSettings(cache_bytes=cache_mb * MEGABYTE)
        self._inference = Inference(ModelServer(), _Nobody(), self._settings)
        self._models: dict[str, FollowedModel] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the models."""
        for followed in self._models.values():
            followed.close()

    def predict(
        self,
        features: "Sequence[Any] | Mapping[str, Any] | bytes | None" = None,
        model: str = "",
        version: str = "latest",
        *,
        entity_id: str = "",
    ) -> dict[str, Any]:
        """Return the prediction for one sample, or `predictions` for several.

        Args:
            features: Values in the model's order, or by the features' names; a list of lists is several samples. An
                image as it is, JPEG or PNG, for a model that takes images.
            model: Its name; empty where one alone is served.
            version: A number, or `latest`.
            entity_id: In place of features: what the device's pipelines keep them of; the agent has to run.

        Raises:
            AgentError: The device serves no such model, or the features are not for it.
        """

        def work() -> dict[str, Any]:
            call = FriendlyCall(self._given(features, entity_id), None, self._settings)
            served = self._served(model or only_model(self.names()), wanted_version(version))
            answer: dict[str, Any] = self._inference.answer_here(served, Question("", 0, call.decode, call.say, _fail))
            return answer

        return _told("POST /predict", work)

    def infer(self, model: str, inputs: Mapping[str, Array], version: str = "") -> dict[str, Array]:
        """Return a model's outputs by name.

        Args:
            model: Its name.
            inputs: Arrays by the model's input names, of its datatypes and shapes.
            version: A number; empty for what serves.

        Raises:
            AgentError: The device serves no such model, or the inputs are not for it.
        """

        def decode(served: ServedModel) -> InferRequest:
            return InferRequest(None, _checked(inputs, served), ())

        def work() -> dict[str, Array]:
            question = Question("", 0, decode, _outputs, _fail)
            answer: dict[str, Array] = self._inference.answer_here(self._served(model, version or None), question)
            return answer

        return _told(f"model {model}", work)

    def models(self) -> list[dict[str, Any]]:
        """Return name, version and state of each model that there is."""
        index: list[dict[str, Any]] = []
        for name in self.names():
            try:
                served = self._held(name)
            except AgentError as error:
                index.append({"name": name, "version": "", "state": "UNAVAILABLE", "reason": str(error)})
            else:
                if served is not None:
                    index.append({"name": name, "version": str(served.version), "state": "READY", "reason": ""})
        return index

    def names(self) -> list[str]:
        """Return the names of the models that the device has."""
        return known_models(self._data / "models")

    def absent(self) -> dict[str, Absence]:
        """Return nothing: what the device has is loaded here as it is asked."""
        return {}

    def stream(self, model: str = "") -> Iterator[dict[str, Any]]:
        """Yield each prediction as the device makes it, until the agent ends: of the agent, which has to run.

        Raises:
            AgentError: It does not, or refuses.
        """
        return stream_predictions(endpoint_of(self._data), model, {})

    def feedback(self, model: str, answer_id: str, labels: Sequence[int]) -> None:  # noqa: ARG002 - as the client has it
        """Refuse: the device counts the labels of what it has answered itself.

        Raises:
            AgentError: Always.
        """
        message = f"telling the labels of {answer_id[:64]!r}: it was answered in this process, and no monitor saw it"
        raise AgentError(message, "predict through the agent where labels are to count: Client()")

    def _given(self, features: Any, entity_id: str) -> object:  # noqa: ANN401 - lists, mappings or arrays
        if entity_id and features is not None:
            raise RequestError("both features and an entity_id are given", UNPROCESSABLE, "give one of them")
        if entity_id:
            return Entity(entity_id, self._entity(entity_id))
        if features is None:
            raise RequestError("no features are given", remedy=REMEDY)
        return _plain(features)

    def _entity(self, entity_id: str) -> dict[str, _Value]:
        """Return an entity's features; the agent, which computes them, has their file for itself."""
        found = ask(endpoint_of(self._data), "GET", f"/shoal/v1/features/{quote(entity_id, safe='')}")
        if not found["is_known"]:
            message = f"reading the features of entity {entity_id[:128]!r}: there are none"
            raise RequestError(message, NOT_FOUND, "send its events to a pipeline first")
        values = found["features"].items()
        return {name: _Value(one["value"], one["age_s"], bool(one["is_fallback"])) for name, one in values}

    def _served(self, name: str, version: str | None) -> ServedModel:
        return resolve(self, self._held(name), name, version)

    def _held(self, name: str) -> ServedModel | None:
        """Return the model as the device serves it now."""
        followed = self._models.get(name)
        if followed is None:
            if name not in self.names():
                return None
            followed = self._models[name] = FollowedModel(self._data, name)
        return followed.served()


def _told(asked: str, work: Callable[[], Result]) -> Result:
    """Do what is asked; a refusal is the error that the client of an endpoint raises."""
    try:
        return work()
    except RequestError as error:
        message = f"{_DOING}: {asked}: {error.status}: {error}; {error.remedy}"
        raise AgentError(message, "correct the request") from error


def _fail(error: AgentError) -> None:
    raise error


def _plain(value: Any) -> Any:  # noqa: ANN401 - lists, mappings or arrays
    """Return features as JSON would bring them."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return list(value) if set(map(type, value)) <= {float, int} else [_plain(one) for one in value]
    return value


def _checked(inputs: Mapping[str, Array], served: ServedModel) -> dict[str, Array]:
    """Return inputs that are a model's."""
    specs = {spec.name: spec for spec in served.engine.inputs}
    check_names(list(inputs), list(specs))
    checked = {}
    for name, array in inputs.items():
        spec, datatype = specs[name], datatype_of(name, array)
        if datatype != spec.datatype:
            raise RequestError(f"input {name!r} has datatype {datatype!r}, expected {spec.datatype!r}")
        check_shape(list(array.shape), spec, f"input {name!r}")
        checked[name] = np.require(array, array.dtype.newbyteorder("="), ["C", "A"])
        check_finite(checked[name], name)
    return checked


def _outputs(_: InferRequest, answer: Answer) -> dict[str, Array]:
    """Return outputs that are the caller's own: kept ones answer others, too."""
    return {name: array.copy() for name, array in answer.outputs.items()}
