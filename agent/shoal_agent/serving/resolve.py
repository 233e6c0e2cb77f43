"""From the names in a path to the model that answers."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from shoal_agent.endpoint.message import NOT_FOUND, UNAVAILABLE, RequestError
from shoal_agent.serving.models import Absence, ServedModel


class Names(Protocol):
    """What is served."""

    def names(self) -> Sequence[str]:
        """Return the names of the models that are served."""

    def absent(self) -> Mapping[str, Absence]:
        """Return what is known and not served, by name."""


def resolve(server: Names, held: ServedModel | None, name: str, version: str | None) -> ServedModel:
    """Return the served model if it is there and of the version that the path asks for.

    Raises:
        RequestError: 503 while nothing is served at all, or the model is known and can not serve now; 404 for another
            model or version.
    """
    absence = server.absent().get(name) if held is None else None
    if absence is not None:
        raise RequestError(str(absence.why), UNAVAILABLE, absence.why.remedy)
    if held is None:
        known = ", ".join(server.names())
        if not known:
            msg = "no model is served yet"
            raise RequestError(msg, UNAVAILABLE, remedy="roll a model out to this device, then try again")
        msg = f"model {name[:64]!r} is not served"
        raise RequestError(msg, NOT_FOUND, remedy=f"ask for one of {known}")
    if version is not None and version != str(held.version):
        msg = f"version {version[:20]!r} of model {name!r} is not served"
        raise RequestError(msg, NOT_FOUND, remedy=f"ask for version {held.version}, or for none")
    return held
