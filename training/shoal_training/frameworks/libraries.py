"""Says what to install where a framework is missing."""

from collections.abc import Iterator
from contextlib import contextmanager

from shoal_training.errors import MissingLibraryError


@contextmanager
def of_extra(extra: str, doing: str) -> Iterator[None]:
    """Let a library that can not be imported inside say which extra brings it.

    Raises:
        MissingLibraryError: One is not installed, or not whole.
    """
    try:
        yield
    except ImportError as error:
        if (error.name or "").startswith("shoal"):  # a mistake of ours, which no extra mends
            raise
        raise MissingLibraryError(f"{doing}: {error}; install shoal[{extra}]") from error
