"""`--tag NAME=VALUE`, as several commands take it."""

from collections.abc import Sequence
from typing import Annotated

import typer

from shoal_client import ClientError

Tags = Annotated[list[str] | None, typer.Option("--tag", help="NAME=VALUE; may be given several times.")]


def read_tags(given: Sequence[str] | None) -> dict[str, str]:
    """Return tags by name.

    Raises:
        ClientError: One is not of the form NAME=VALUE.
    """
    pairs = [one.partition("=") for one in given or ()]
    wrong = next((name for name, separator, _ in pairs if not (name and separator)), None)
    if wrong is not None:
        raise ClientError(f"reading the tag {wrong!r}: NAME=VALUE was expected", "give it as --tag site=north")
    return {name: value for name, _, value in pairs}
