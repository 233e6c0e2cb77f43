"""How the application tells the true label or value of what was predicted, once it knows it, and what it measured.

`POST /shoal/v1/labels` with the `id` of the answer, or `POST /feedback` with its `request_id`, which need not name the
model; on the loopback endpoint alone (`local_caller`). `GET` says what became of the labels that came. They are counted
by the monitor and leave the device as counts of a window.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, model_validator
from typing_extensions import Self

from shoal_agent.endpoint import Request, RequestError, Response, Route, json_response
from shoal_agent.local_caller import check_local, read_json
from shoal_agent.monitor import Fate, LabelError, Labelled, Monitor, Truth
from shoal_contract.limits import MAX_INTEGER
from shoal_contract.performance import MAX_CUSTOM_METRICS, MetricName

_PATH: Final = "/shoal/v1/labels"
_FEEDBACK: Final = "/feedback"
_MAX_BODY_BYTES: Final = 64 * 1024
_MAX_LABELS: Final = 8192
_MAX_TEXT_CHARS: Final = 256
_EXAMPLE: Final = '{"model": "digits", "id": "5f1c2a90-17", "labels": [3]}'
_FEEDBACK_EXAMPLE: Final = '{"request_id": "5f1c2a90-17", "label": 3}'
_STATUS: Final[dict[Fate, int]] = {
    "unknown": 404,
    "late": 410,
    "repeated": 409,
    "ambiguous": 409,
    "wrong_version": 409,
    "misfit": 422,
}
_Text = Annotated[str, Field(min_length=1, max_length=_MAX_TEXT_CHARS)]
_Label = Annotated[int, Field(ge=0, le=MAX_INTEGER)]
_Labels = Annotated[list[_Label], Field(min_length=1, max_length=_MAX_LABELS)]
_Value = Annotated[float, Field(allow_inf_nan=False)]
_Version = Annotated[int, Field(ge=1, le=MAX_INTEGER)]


_Values = Annotated[list[_Value], Field(min_length=1, max_length=_MAX_LABELS)]


class _Known(BaseModel):
    """What both bodies may tell of an answer."""

    model_config = ConfigDict(extra="forbid", strict=True)

    labels: _Labels | None = None
    values: _Values | None = None
    metrics: Annotated[dict[MetricName, _Value], Field(max_length=MAX_CUSTOM_METRICS)] = {}
    version: _Version | None = None

    @property
    def _forms(self) -> int:
        return (self.labels is not None) + (self.values is not None)

    @model_validator(mode="after")
    def _check_one_form(self) -> Self:
        if self._forms > 1 or not (self._forms or self.metrics):
            msg = "give either labels or values, or metrics alone"
            raise ValueError(msg)
        return self

    def truth(self) -> Truth:
        """Return what is told of each sample."""
        return Truth(self.labels, self.values, self.metrics)


class _Told(_Known):
    """The body of a POST."""

    model: _Text
    id: _Text


class _Feedback(_Known):
    """The body of a POST of feedback: one label or value for a request of one sample, or one for each."""

    request_id: _Text
    label: _Label | None = None
    value: _Value | None = None
    model: _Text | None = None

    @property
    def _forms(self) -> int:
        return super()._forms + (self.label is not None) + (self.value is not None)

    def truth(self) -> Truth:
        """Return what is told of each sample."""
        labels = self.labels if self.label is None else [self.label]
        values = self.values if self.value is None else [self.value]
        return Truth(labels, values, self.metrics)


def label_routes(monitor: Monitor, *on_labels: Callable[[str, str, Sequence[int]], None]) -> list[Route]:
    """Return the routes by which programs on this device tell true labels.

    Args:
        monitor: Counts them.
        on_labels: Each is called with the model, the answer's id and the labels that were counted.
    """

    def count(model: str | None, answer_id: str, told: _Known) -> Labelled:
        truth = told.truth()
        try:
            counted = monitor.tell(model, answer_id, truth, told.version)
        except LabelError as error:
            raise RequestError(str(error), _STATUS[error.fate], error.remedy) from error
        if truth.labels is not None:
            for tell in on_labels:
                tell(counted.model, answer_id, truth.labels)
        return counted

    def answer(request: Request) -> Response:
        check_local(request)
        if request.method == "GET":
            return json_response(monitor.label_fates())
        told = read_json(request, _Told, _EXAMPLE)
        counted = count(told.model, told.id, told)
        return json_response({"version": counted.version, **_said(counted)})

    def feedback(request: Request) -> Response:
        check_local(request)
        told = read_json(request, _Feedback, _FEEDBACK_EXAMPLE)
        counted = count(told.model, told.request_id, told)
        return json_response({"model": counted.model, "version": counted.version, **_said(counted)})

    return [
        Route(_PATH, dict.fromkeys(("GET", "POST"), answer), _MAX_BODY_BYTES),
        Route(_FEEDBACK, {"POST": feedback}, _MAX_BODY_BYTES),
    ]


def _said(counted: Labelled) -> dict[str, Any]:
    """Return what labels came to; of a composition also for its members whose answers were used."""
    said: dict[str, Any] = {"labelled": counted.labelled, "correct": counted.correct}
    if counted.valued:
        said["valued"] = counted.valued
    if counted.metrics:
        said["metrics"] = counted.metrics
    if counted.members:
        said["members"] = [{"model": one.model, "version": one.version, **_said(one)} for one in counted.members]
    return said
