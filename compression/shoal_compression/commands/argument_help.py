"""Typer's arguments with their help, which Click takes from them since its arguments have one of their own (8.5).

Typer 0.20, which Flower holds, sets the help before it hands over to Click, and gives Click none. Importing this module
mends it for every command that is built afterwards.
"""

from typing import Any

import typer.main
from typer.core import TyperArgument


class HelpfulArgument(TyperArgument):
    """An argument of a command, with its help."""

    def __init__(self, *, help: str | None = None, **more: Any) -> None:  # noqa: A002, ANN401 - Typer's own names
        super().__init__(help=help, **more)
        self.help = help


typer.main.TyperArgument = HelpfulArgument  # type: ignore[attr-defined]
