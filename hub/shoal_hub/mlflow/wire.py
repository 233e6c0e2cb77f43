"""What bodies and answers of MLflow's API have in common, in the names of its protobuf messages.

Answers are JSON objects: numbers of 64 bits as numbers, NaN and the infinities as the words that protobuf has for them.
"""

from collections.abc import Iterable, Mapping
from math import isfinite, isnan
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from shoal_hub.requests import Text
from shoal_hub.tracking.values import Measured

Json = dict[str, Any]
EMPTY: Final[Json] = {}
MAX_KEY: Final = 250
MAX_TAG: Final = 8000
MAX_BATCH: Final = 1000
"""Values of one log-batch, as MLflow's own server takes them."""
Key = Annotated[Text, Field(min_length=1, max_length=MAX_KEY)]
Integer = Annotated[int, Field(ge=-(2**63), lt=2**63)]
Milliseconds = Annotated[int, Field(ge=0, lt=2**63)]


def _as_text(value: object) -> object:
    """Take numbers for ids and versions: both are texts, and some clients send them as numbers."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Id = Annotated[Text, BeforeValidator(_as_text), Field(max_length=256)]


class Body(BaseModel):
    """A body: what it has besides the fields is left alone, as protobuf's readers do."""

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())


class TagBody(Body):
    """A tag."""

    key: Key
    value: Annotated[Text, Field(max_length=MAX_TAG)] = ""


class ParamBody(Body):
    """A parameter."""

    key: Key
    value: Text = ""


class MetricBody(Body):
    """A value of a metric."""

    key: Key
    value: float
    timestamp: Milliseconds
    step: Integer = 0
    model_id: Id = ""
    dataset_name: Text = ""
    dataset_digest: Text = ""

    def measured(self) -> Measured:
        """Return it as tracking keeps it."""
        data = (self.dataset_name, self.dataset_digest)
        return Measured(self.key, self.value, self.step, self.timestamp, self.model_id, *data)


def named(tags: Iterable[TagBody | ParamBody]) -> dict[str, str]:
    """Return tags by their keys."""
    return {tag.key: tag.value for tag in tags}


def pairs(values: Mapping[str, str]) -> list[Json]:
    """Return tags or parameters as messages."""
    return [{"key": key, "value": value} for key, value in values.items()]


def metric(one: Measured, run: str = "") -> Json:
    """Return a value of a metric as a message."""
    more = {
        "run_id": run,
        "model_id": one.model,
        "dataset_name": one.dataset_name,
        "dataset_digest": one.dataset_digest,
    }
    told = {name: text for name, text in more.items() if text}
    return {"key": one.key, "value": number(one.value), "timestamp": one.at_ms, "step": one.step} | told


def number(value: float) -> float | str:
    """Return a number as JSON can have it."""
    if isfinite(value):
        return value
    return "NaN" if isnan(value) else "Infinity" if value > 0 else "-Infinity"


def paged(name: str, items: list[Json], token: str) -> Json:
    """Return a page of a list; without the token that asks for the next where there is none."""
    return {name: items} | ({"next_page_token": token} if token else {})
