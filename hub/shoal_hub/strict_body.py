"""Bodies that become part of a device's desired state: held to more than their form, before any device is told."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidatorFunctionWrapHandler

from shoal_hub.errors import InvalidInputError


def strictly(given: Any, read: ValidatorFunctionWrapHandler) -> Any:  # noqa: ANN401 - JSON as it came, and what it is
    """Read a model, for a `WrapValidator`, and refuse it if a field of what came is none of its own.

    Raises:
        ValueError: One is none.
    """
    taken = read(given)
    require_known(given, taken.model_dump(mode="json"))
    return taken


def require_known(given: Any, taken: Mapping[str, Any]) -> None:  # noqa: ANN401
    """See that nothing of what somebody wrote was passed over: a misspelt field would quietly get its default.

    Args:
        given: As it came.
        taken: The same, after it was read.

    Raises:
        ValueError: A field is none.
    """
    unknown = _unknown(given, taken, "")
    if unknown:
        msg = f"there is no field {unknown}"
        raise ValueError(msg)


def require_plain_text(doing: str, body: BaseModel) -> None:
    """See that no text of a body has a character for which devices refuse all of their state.

    Raises:
        InvalidInputError: One has.
    """
    if _holds_nul(body.model_dump(mode="json")):
        raise InvalidInputError(
            f"{doing}: a text holds the NUL character, for which a device refuses all of its state", "leave it out"
        )


def _holds_nul(value: Any) -> bool:  # noqa: ANN401
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, Mapping):
        return any(_holds_nul(one) for pair in value.items() for one in pair)
    return isinstance(value, list) and any(map(_holds_nul, value))


def _unknown(given: Any, taken: Any, place: str) -> str:  # noqa: ANN401
    if isinstance(given, Mapping) and isinstance(taken, Mapping):
        for key, value in given.items():
            here = f"{place}.{key}" if place else str(key)
            if key not in taken:
                return here
            if found := _unknown(value, taken[key], here):
                return found
    if isinstance(given, list) and isinstance(taken, list):
        for index, (one, read) in enumerate(zip(given, taken, strict=True)):
            if found := _unknown(one, read, f"{place}[{index}]"):
                return found
    return ""
