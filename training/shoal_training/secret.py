"""Passwords and tokens: named in a file, kept in the environment, and in no lineage, error or log."""

import os

from shoal_training.errors import DataError


def secret(variable: str, purpose: str) -> str:
    """Return what an environment variable holds.

    Args:
        variable: Its name.
        purpose: What is being done, for the error.

    Raises:
        DataError: It is not set, or empty.
    """
    value = os.environ.get(variable, "")
    if not value:
        raise DataError(f"{purpose}: the environment variable {variable} is not set; put the secret into it")
    return value


def without(text: str, *secrets: str) -> str:
    """Return a text in which secrets are stars."""
    for one in filter(None, secrets):
        text = text.replace(one, "***")
    return text
