"""Takes secrets from where no other user of the machine sees them: a prompt, or standard input; never an argument."""

import sys

import typer
from pydantic import SecretStr


def read_secret(what: str, *, is_new: bool = False) -> SecretStr:
    """Ask at a terminal, twice for a new one; elsewhere, read the first line of standard input.

    Args:
        what: What is asked for, as the prompt says it.
        is_new: Whether nothing else will notice a slip.
    """
    if sys.stdin.isatty():
        return SecretStr(typer.prompt(what, hide_input=True, confirmation_prompt=is_new, err=True))
    return SecretStr(sys.stdin.readline().strip())
