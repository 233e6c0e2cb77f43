"""What one who passes requests on knows of them before they are read for a model: whom they ask, and by which call."""

from collections.abc import Callable
from typing import Literal, NamedTuple

from shoal_agent.endpoint import Handler, Request

Call = Literal["infer", "predict"]
"""`infer` of the Open Inference Protocol, or the friendly call."""


class Asked(NamedTuple):
    """Whom a request asks."""

    call: Call
    model: str
    version: str | None


AskedOf = Callable[[Request], Asked | None]
"""Returns whom a request asks; None where only this device can answer it, or say what is wrong with it."""
PassOn = Callable[[Handler, AskedOf], Handler]
"""Returns what answers requests: what is given does, or another device."""


def stay_here(here: Handler, _: AskedOf) -> Handler:
    """Have all requests answered here."""
    return here


def asked_infer(request: Request) -> Asked:
    """Return whom the path of an inference request asks."""
    return Asked("infer", request.params["name"], request.params.get("version"))
