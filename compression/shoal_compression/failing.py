"""What a step, a runtime or a comparison raises that is no error of this package becomes one."""

from collections.abc import Iterator
from contextlib import contextmanager

from shoal_compression.errors import CompressionError, TechniqueError

_MOST_TEXT = 500


@contextmanager
def told(doing: str, advice: str) -> Iterator[None]:
    """Raise whatever fails inside as an error that says what was being done; the original is its cause.

    Raises:
        TechniqueError: Something failed.
    """
    try:
        yield
    except CompressionError:
        raise
    except MemoryError as error:
        msg = f"{doing}: it needs more memory than there is; end other programs, or use a machine with more"
        raise TechniqueError(msg) from error
    except Exception as error:  # the libraries' errors share no base class
        found = f"{type(error).__name__}: {str(error)[:_MOST_TEXT]}"
        raise TechniqueError(f"{doing}: {found}; {advice}") from error
