"""NumPy comes with the first tensor: 12 MB that an agent without a model need not hold.

While the agent's own modules are imported, `import numpy as np` gives them a stand-in, and nobody else: it stands in
`sys.modules` for that time alone. It becomes numpy at the first name that is asked of it, in any thread.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType

_NAME = "numpy"


class _LateNumpy(ModuleType):
    """Asked for a name, it takes over all that numpy has and is a module like any other from then on."""

    def __getattr__(self, name: str) -> object:
        if sys.modules.get(_NAME) is self:
            raise AttributeError(
                f"numpy.{name} is asked for while the agent is imported, expected only in a function; put a type's "
                "import under TYPE_CHECKING, and make a constant when it is first used"
            )
        # What two threads ask for at once is imported once: the import's own lock makes the second wait.
        real = import_module(_NAME)
        vars(self).update(vars(real))  # with numpy's `__getattr__`, which knows its late submodules
        self.__class__ = ModuleType  # type: ignore[assignment] # from here on a look-up costs what it costs in numpy
        return getattr(real, name)


@contextmanager
def numpy_later() -> Iterator[None]:
    """Have the modules that are imported meanwhile load numpy when they first use it; no effect once it is loaded."""
    if _NAME in sys.modules:
        yield
        return
    late = sys.modules[_NAME] = _LateNumpy(_NAME)
    try:
        yield
    finally:
        if sys.modules.get(_NAME) is late:
            del sys.modules[_NAME]


def is_numpy_loaded() -> bool:
    """Whether numpy can be used without waiting for its import, which takes some hundred milliseconds."""
    module = sys.modules.get(_NAME)
    return module is not None and not getattr(module.__spec__, "_initializing", False)
