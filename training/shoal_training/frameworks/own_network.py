"""Builds a network by a function of its user, from the text that its cache key was made of."""

import linecache
import sys
from collections.abc import Callable, Mapping
from hashlib import sha256
from types import ModuleType
from typing import Any

from shoal_training.errors import NetworkError
from shoal_training.frameworks.layers import Shape
from shoal_training.frameworks.networks import Own


def build_own(own: Own, sources: Mapping[str, str], shape: Shape, outputs: int) -> Any:  # noqa: ANN401 - of any framework
    """Call the function.

    Args:
        own: Names file and function.
        sources: The file's text by its name, see `Network.sources`.
        shape: Of one sample.
        outputs: Numbers that the network is to give for one.

    Raises:
        NetworkError: The file has no such function, or fails.
    """
    build = _function(own, sources[own.file])
    try:
        return build(shape, outputs, **own.parameters)
    except MemoryError:
        raise
    except Exception as error:  # the user's own code
        raise _failed(own, error) from error


def _function(own: Own, text: str) -> Callable[..., Any]:
    # By its content: two versions of a file may be in use in one process.
    name = f"shoal_own_network_{sha256(text.encode()).hexdigest()[:16]}"
    module = sys.modules.get(name)
    if module is None:
        module = ModuleType(name)
        module.__file__ = own.file
        linecache.cache[own.file] = (len(text), None, text.splitlines(keepends=True), own.file)  # for tracebacks
        sys.modules[name] = module  # dataclasses look their module up
        try:
            exec(compile(text, own.file, "exec"), module.__dict__)  # noqa: S102 - the pipeline's author runs own code
        except Exception as error:
            del sys.modules[name]
            raise _failed(own, error) from error
    found = getattr(module, own.function, None)
    if not callable(found):
        raise NetworkError(f"building {own.build}: the file has no function {own.function}; write one, or name another")
    return found  # type: ignore[no-any-return]


def _failed(own: Own, error: Exception) -> NetworkError:
    lines = [one for one in _places(error) if one[0] == own.file]
    where = f" in line {lines[-1][1]}" if lines else ""
    return NetworkError(
        f"building {own.build}: {type(error).__name__}{where}: {str(error)[:300]}; mend the file, which gets the shape "
        "of a sample and the number of outputs"
    )


def _places(error: Exception) -> list[tuple[str, int]]:
    found, trace = [], error.__traceback__
    while trace is not None:
        found.append((trace.tb_frame.f_code.co_filename, trace.tb_lineno))
        trace = trace.tb_next
    return found
