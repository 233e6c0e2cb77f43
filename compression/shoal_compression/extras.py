"""Says what to install where a library is missing: the one place that knows which extra brings which library."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Final

from shoal_compression.errors import MissingLibraryError

_OF_TENSORFLOW: Final = frozenset(
    {"h5py", "keras", "tensorflow", "tensorflow_model_optimization", "tf2onnx", "tf_keras"}
)
"""By the names that they are imported by; everything else that compression uses comes with the extra `compress`."""


def need(doing: str, *libraries: str) -> None:
    """See that libraries can be imported, without doing so.

    Raises:
        MissingLibraryError: One is not installed.
    """
    for library in libraries:
        if find_spec(library) is None:
            raise _missing(doing, library, f"the library {library} is not installed")


@contextmanager
def says_extra(doing: str) -> Iterator[None]:
    """Let a library that can not be imported inside say what to install.

    Raises:
        MissingLibraryError: One is not installed, or not whole.
    """
    try:
        yield
    except ImportError as error:
        library = (error.name or "").partition(".")[0]
        if library.startswith("shoal"):  # a mistake of ours, which no extra mends
            raise
        is_absent = isinstance(error, ModuleNotFoundError) and library
        found = f"the library {library} is not installed" if is_absent else str(error)
        raise _missing(doing, library, found) from error


def _missing(doing: str, library: str, found: str) -> MissingLibraryError:
    extra = "compress,tensorflow" if library in _OF_TENSORFLOW else "compress"
    return MissingLibraryError(f"{doing}: {found}; install shoal[{extra}]")
