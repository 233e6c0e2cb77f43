"""A function of the user's own, in a file beside the pipeline file. It is run as whoever runs the pipeline."""

import importlib.util
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any

from shoal_training.errors import DataError


class UserFunction:
    """A function by `file.py:function`.

    Args:
        named: The file and the function.
        folder: That the file lies in, or below: the pipeline file's.

    Raises:
        DataError: The file would lie elsewhere.
    """

    def __init__(self, named: str, folder: Path) -> None:
        file, _, self._function = named.rpartition(":")
        if PurePosixPath(file).is_absolute() or ".." in PurePosixPath(file).parts:
            raise DataError(f"reading {named}: expected a file beside the pipeline file or below; move it there")
        self._named, self._path = named, folder / file

    def sha256(self) -> str:
        """Return the hash of the file.

        Raises:
            DataError: It can not be read.
        """
        return sha256(self._content()).hexdigest()

    def load(self) -> Callable[..., Any]:
        """Run the file and return the function.

        Raises:
            DataError: It can not be read, it fails, or it has no such function.
        """
        name = f"shoal_user_{sha256(self._content()).hexdigest()[:16]}"
        specified = importlib.util.spec_from_file_location(name, self._path)
        if specified is None or specified.loader is None:
            raise DataError(f"reading {self._path}: it is no Python file; name one")
        module = importlib.util.module_from_spec(specified)
        sys.modules[name] = module  # dataclasses and pickles look their module up
        try:
            specified.loader.exec_module(module)
        except Exception as error:  # whatever the user's code raises
            del sys.modules[name]
            raise DataError(f"running {self._path}: {type(error).__name__}: {error}; mend the file") from error
        found = getattr(module, self._function, None)
        if not callable(found):
            known = ", ".join(one for one in vars(module) if callable(getattr(module, one)) and not one.startswith("_"))
            raise DataError(f"reading {self._path}: it has no function {self._function}; it has {known or 'none'}")
        return found  # type: ignore[no-any-return]  # just seen to be callable

    def _content(self) -> bytes:
        try:
            return self._path.read_bytes()
        except OSError as error:
            raise DataError(f"reading {self._named}: {error}; put the file beside the pipeline file") from error
