"""Refuses fields that a feature does not have: the contract's own values pass over them, for other releases' sake."""

from typing import Any


def need_known(given: Any, taken: Any, place: str) -> None:  # noqa: ANN401 - JSON as it came, and what it is
    """See that nothing of what somebody wrote was passed over: a misspelt field would quietly get its default.

    Args:
        given: As it stands in a file.
        taken: The same after it was read, as JSON.
        place: Where it stands.

    Raises:
        ValueError: A field is none.
    """
    if isinstance(given, dict) and isinstance(taken, dict):
        for name, value in given.items():
            if name not in taken:
                raise ValueError(f"there is no field {place}.{name}; correct or remove it")
            need_known(value, taken[name], f"{place}.{name}")
