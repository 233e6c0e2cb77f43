"""How a setting is declared: its environment variable, unit, default and meaning, for whoever has settings."""

from typing import Any

from pydantic import Field


def setting(env: str, default: Any, unit: str, description: str, *, is_secret: bool = False, **bounds: Any) -> Any:  # noqa: ANN401 - a field of any type
    """Return the field of a setting.

    Args:
        env: Its environment variable.
        default: Its value where that is not set.
        unit: Of the value, in a word.
        description: What it is for.
        is_secret: Whether its value may not be shown.
        bounds: Of pydantic's `Field`.
    """
    return Field(
        default=default,
        description=description,
        json_schema_extra={"env": env, "unit": unit, "is_secret": is_secret},
        validate_default=True,
        **bounds,
    )
