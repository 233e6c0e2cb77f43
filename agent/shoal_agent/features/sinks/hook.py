"""Results to a command of the device's owner, which may switch an output or sound a horn.

The hub says a name, and never what it runs: that stands in a file on the device, `name = ["program", "argument"]`,
which nobody but root and the agent's user may write to.
"""

import os
import stat
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import anyio
from pydantic import Field, TypeAdapter, ValidationError

from shoal_agent.features.errors import FeaturesError, UnreachableError
from shoal_contract.ids import Name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_MAX_FILE_BYTES: Final = 64 * 1024
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_Command = Annotated[tuple[str, ...], Field(min_length=1, max_length=64)]
_FILE: Final = TypeAdapter(Annotated[dict[Name, _Command], Field(max_length=64)])
_HOW: Final = "see docs/guides/features.md for its form"


def find_hook(path: Path | None, name: str) -> tuple[str, ...]:
    """Return the command that a name stands for on this device.

    Raises:
        FeaturesError: Its owner has defined none, or the file is none of its form.
    """
    doing = f"finding the hook {name!r}"
    hooks = _read(path, doing) if path is not None else {}
    if name not in hooks:
        known = ", ".join(sorted(hooks)) or "none"
        where = path or "the hooks file of shoal-agent run --features-hooks"
        raise FeaturesError(f"{doing}: this device has {known}", f"its owner defines it in {where}; {_HOW}")
    return hooks[name]


class Hook:
    """Runs a command for each call, with its results on standard input; no shell reads it.

    Args:
        name: Under which the hub knows it.
        command: Program and arguments.
        timeout_s: How long it may take.
    """

    def __init__(self, name: str, command: Sequence[str], timeout_s: float) -> None:
        self._name = name
        self._command = list(command)
        self._timeout_s = timeout_s

    async def send(self, results: Sequence[bytes]) -> None:
        """Run the command.

        Raises:
            UnreachableError: It can not be started, does not end in time, or ends with another status than 0.
        """
        doing = f"running the hook {self._name!r}"
        environment = {"PATH": _PATH, "HOME": str(Path.home()), "LANG": "C.UTF-8"}
        try:
            with anyio.fail_after(self._timeout_s):
                ended = await anyio.run_process(
                    self._command,
                    input=b"".join(one + b"\n" for one in results),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    check=False,
                    cwd="/",
                    env=environment,
                    start_new_session=True,
                )
        except TimeoutError as error:
            raise UnreachableError(f"{doing}: not done after {self._timeout_s:g} s") from error
        except OSError as error:
            raise UnreachableError(f"{doing}: starting {self._command[0]}: {error.strerror}") from error
        if ended.returncode:
            raise UnreachableError(f"{doing}: exit status {ended.returncode}")

    async def aclose(self) -> None:
        """Nothing is held open."""


def _read(path: Path, doing: str) -> dict[str, tuple[str, ...]]:
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            if found.st_uid not in {0, os.geteuid()} or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                message = f"{doing}: others than root and the agent's user may write to {path}"
                raise FeaturesError(message, f"chown it to the agent's user and chmod 600 {path}")
            data = file.read(_MAX_FILE_BYTES + 1)
        if len(data) > _MAX_FILE_BYTES:
            raise FeaturesError(f"{doing}: {path} has more than {_MAX_FILE_BYTES} bytes", _HOW)
        return _FILE.validate_python(tomllib.loads(data.decode()))
    except FileNotFoundError:
        return {}
    except ValidationError as error:
        raise FeaturesError(f"{doing}: {path}: {error.errors()[0]['msg']}", _HOW) from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise FeaturesError(f"{doing}: {path}: {error}", _HOW) from error
