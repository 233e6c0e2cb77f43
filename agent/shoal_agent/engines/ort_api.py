"""ONNX Runtime's C API, by ctypes: the functions that a session needs, and the library that they come from.

The API is a table of pointers that only ever grows; a function keeps its index. Indices and arguments are those of
`struct OrtApi` in include/onnxruntime/core/session/onnxruntime_c_api.h of github.com/microsoft/onnxruntime. Imports
nothing but the standard library: the child that checks a runtime uses it, too.
"""

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ctypes import c_char_p, c_int, c_int64, c_size_t, c_uint32, c_void_p
from functools import cache
from importlib.util import find_spec
from logging import getLogger
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, NamedTuple

_log = getLogger(__name__)
API_VERSION: Final = 15
"""Of the table: the first one with all of `FUNCTIONS`. Libraries since 1.15 have it."""
TENSORRT: Final = "TensorrtExecutionProvider"
CUDA: Final = "CUDAExecutionProvider"
LOG_FATAL_ONLY: Final = 4
"""Errors are raised with their text; on the standard error they would be told twice."""
DEVICE_ALLOCATOR: Final = 0
DEFAULT_MEMORY: Final = 0
_LIBRARIES: Final = "libonnxruntime.so*"


class OrtError(Exception):
    """ONNX Runtime refused or failed; the text is its own."""


class Function(NamedTuple):
    """One function of the table.

    Attributes:
        place: Its index.
        arguments: Their types; an address is a `c_void_p`, and where one is written to, too.
        result: Of most a status: none where it went well.
        is_long: Whether Python's other threads go on meanwhile. Where not, calling it costs less.
    """

    place: int
    arguments: tuple[Any, ...]
    result: Any = c_void_p
    is_long: bool = False


_RUN: Final = (c_void_p, c_void_p, c_void_p, c_void_p, c_size_t, c_void_p, c_size_t, c_void_p)
FUNCTIONS: Final[dict[str, Function]] = {
    "GetErrorMessage": Function(2, (c_void_p,), c_char_p),
    "CreateEnv": Function(3, (c_int, c_char_p, c_void_p), is_long=True),
    "CreateSession": Function(7, (c_void_p, c_char_p, c_void_p, c_void_p), is_long=True),
    "Run": Function(9, _RUN, is_long=True),
    "RunShort": Function(9, _RUN),  # the same one
    "CreateSessionOptions": Function(10, (c_void_p,)),
    "DisableCpuMemArena": Function(19, (c_void_p,)),
    "SetSessionLogSeverityLevel": Function(22, (c_void_p, c_int)),
    "SetIntraOpNumThreads": Function(24, (c_void_p, c_int)),
    "SetInterOpNumThreads": Function(25, (c_void_p, c_int)),
    "SessionGetInputCount": Function(30, (c_void_p, c_void_p)),
    "SessionGetOutputCount": Function(31, (c_void_p, c_void_p)),
    "SessionGetInputTypeInfo": Function(33, (c_void_p, c_size_t, c_void_p)),
    "SessionGetOutputTypeInfo": Function(34, (c_void_p, c_size_t, c_void_p)),
    "SessionGetInputName": Function(36, (c_void_p, c_size_t, c_void_p, c_void_p)),
    "SessionGetOutputName": Function(37, (c_void_p, c_size_t, c_void_p, c_void_p)),
    "CreateRunOptions": Function(39, (c_void_p,)),
    "CreateTensorAsOrtValue": Function(48, (c_void_p, c_void_p, c_size_t, c_int, c_void_p)),
    "CreateTensorWithDataAsOrtValue": Function(49, (c_void_p, c_void_p, c_size_t, c_void_p, c_size_t, c_int, c_void_p)),
    "GetTensorMutableData": Function(51, (c_void_p, c_void_p)),
    "GetStringTensorDataLength": Function(53, (c_void_p, c_void_p)),
    "GetStringTensorContent": Function(54, (c_void_p, c_void_p, c_size_t, c_void_p, c_size_t)),
    "CastTypeInfoToTensorInfo": Function(55, (c_void_p, c_void_p)),
    "GetTensorElementType": Function(60, (c_void_p, c_void_p)),
    "GetDimensionsCount": Function(61, (c_void_p, c_void_p)),
    "GetDimensions": Function(62, (c_void_p, c_void_p, c_size_t)),
    "GetTensorTypeAndShape": Function(65, (c_void_p, c_void_p)),
    "CreateCpuMemoryInfo": Function(69, (c_int, c_int, c_void_p)),
    "AllocatorFree": Function(76, (c_void_p, c_void_p)),
    "GetAllocatorWithDefaultOptions": Function(78, (c_void_p,)),
    "ReleaseStatus": Function(93, (c_void_p,), None),
    "ReleaseSession": Function(95, (c_void_p,), None, is_long=True),
    "ReleaseValue": Function(96, (c_void_p,), None),
    "ReleaseRunOptions": Function(97, (c_void_p,), None),
    "ReleaseTypeInfo": Function(98, (c_void_p,), None),
    "ReleaseTensorTypeAndShapeInfo": Function(99, (c_void_p,), None),
    "ReleaseSessionOptions": Function(100, (c_void_p,), None),
    "GetAvailableProviders": Function(125, (c_void_p, c_void_p)),
    "ReleaseAvailableProviders": Function(126, (c_void_p, c_int)),
    "AddSessionConfigEntry": Function(130, (c_void_p, c_char_p, c_char_p)),
    "AddRunConfigEntry": Function(165, (c_void_p, c_char_p, c_char_p)),
    "GetResizedStringTensorElementBuffer": Function(252, (c_void_p, c_size_t, c_size_t, c_void_p)),
}
"""What is used, in the table's order."""


class _Base(ctypes.Structure):
    """`struct OrtApiBase`."""

    _fields_ = (
        ("get_api", ctypes.CFUNCTYPE(c_void_p, c_uint32)),
        ("get_version", ctypes.CFUNCTYPE(c_char_p)),
    )


class OrtApi:
    """The functions of one library; it stays loaded until the process ends.

    Args:
        path: Of the library.

    Raises:
        OSError, AttributeError: It does not load, or is another library.
        OrtError: It is older than `API_VERSION`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._library = ctypes.CDLL(str(path))
        get_base = self._library.OrtGetApiBase
        get_base.argtypes, get_base.restype = (), ctypes.POINTER(_Base)
        base = get_base().contents
        self.version: str = base.get_version().decode()
        table = base.get_api(API_VERSION)
        if not table:
            msg = f"{path} is version {self.version}: expected 1.{API_VERSION} or newer"
            raise OrtError(msg)
        pointers = (c_void_p * (1 + max(one.place for one in FUNCTIONS.values()))).from_address(table)
        self.call = SimpleNamespace(**{name: _bound(pointers[one.place], one) for name, one in FUNCTIONS.items()})
        """`FUNCTIONS`, by their names in C."""

    def check(self, status: int | None) -> None:
        """Return if a call went well.

        Raises:
            OrtError: It did not.
        """
        if status:
            said = self.call.GetErrorMessage(status).decode(errors="replace")
            self.call.ReleaseStatus(status)
            raise OrtError(said)

    def asked(self, name: str, *arguments: bytes | int | None) -> int:
        """Return what a function writes to the address that is its last argument: a pointer or a count, else 0.

        Raises:
            OrtError: The call did not go well.
        """
        out = c_size_t()
        self.check(getattr(self.call, name)(*arguments, ctypes.addressof(out)))
        return out.value

    @contextmanager
    def made(self, what: str, *arguments: int) -> Iterator[int]:
        """Make something, `Create<what>`, and release it at the block's end, `Release<what>`."""
        pointer = self.asked(f"Create{what}", *arguments)
        try:
            yield pointer
        finally:
            getattr(self.call, f"Release{what}")(pointer)

    def providers(self) -> tuple[str, ...]:
        """Return the execution providers that the library was built with, by its own names."""
        names, count = c_void_p(), c_int()
        self.check(self.call.GetAvailableProviders(ctypes.addressof(names), ctypes.addressof(count)))
        try:
            found = (c_char_p * count.value).from_address(names.value or 0)
            return tuple(name.decode() for name in found if name)
        finally:
            self.check(self.call.ReleaseAvailableProviders(names, count.value))


def _bound(address: int | None, function: Function) -> Callable[..., Any]:
    """Return a function of the table; without `is_long` Python's lock is kept, as taking it again may take long."""
    prototype = ctypes.CFUNCTYPE if function.is_long else ctypes.PYFUNCTYPE
    return prototype(function.result, *function.arguments)(address or 0)


def library_path(module: str = "onnxruntime") -> Path | None:
    """Return where the library lies that ONNX Runtime's Python package brings along; the package is not imported."""
    spec = find_spec(module)
    folders = (spec.submodule_search_locations if spec else None) or []
    found = sorted(path for folder in folders for path in (Path(folder) / "capi").glob(_LIBRARIES) if path.is_file())
    return found[0] if found else None


@cache
def installed_api() -> OrtApi | None:
    """Return the installed library; None where there is none that can be used, and so the Python binding has to do.

    A build with accelerators is left to the binding, which opens sessions on them: one copy of the runtime is enough.
    """
    path = library_path()
    if path is None or ctypes.sizeof(c_void_p) != ctypes.sizeof(c_int64):
        return None
    try:
        api = OrtApi(path)
        return None if {TENSORRT, CUDA} & set(api.providers()) else api
    except (OSError, AttributeError, OrtError) as error:
        _log.warning("loading %s: %s; the Python binding is used, which stops all else while it loads", path, error)
        return None


@cache
def environment(api: OrtApi) -> int:
    """Return the process's one OrtEnv; it is never released, as what a run returned may outlive its session."""
    return api.asked("CreateEnv", LOG_FATAL_ONLY, b"shoal")
