"""Probes: what the device's owner has a new version pass before it is committed.

They stand in a file on the device, by name. The hub says which names have to pass, and never what they run. A probe
is a program, or an HTTP request on this device or its LAN.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final, Literal, TypeAlias

import anyio
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from typing_extensions import Self

from shoal_agent.errors import ProbeError, ProbeSetupError
from shoal_agent.owner_file import OwnerFileError, read_owned
from shoal_agent.probe_run import ProbeAnswer, ask, execute, parse_address
from shoal_contract.ids import Name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MAX_FILE_BYTES: Final = 64 * 1024
MAX_DEFINED: Final = 64
_HOW: Final = "see docs/guides/update-policy.md for its form"


class Probe(BaseModel):
    """One probe, as its owner wrote it: either `exec` or `http`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    exec: tuple[str, ...] = Field(default=(), max_length=64)
    """Program and arguments; no shell reads it."""
    http: str = Field(default="", max_length=1024)
    """An address on this device or its LAN."""
    method: Literal["GET", "POST"] = "GET"
    body: str = Field(default="", max_length=16 * 1024)
    content_type: str = Field(default="application/json", max_length=128, pattern=r"^[\x20-\x7e]*$")
    status: int = Field(default=200, ge=100, le=599)
    """That the answer has to have."""
    timeout_s: float = Field(default=10.0, gt=0, le=3600)
    """Of one attempt."""
    attempts: int = Field(default=1, ge=1, le=100)
    interval_s: float = Field(default=1.0, ge=0, le=3600)
    """Between attempts."""

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        if bool(self.exec) == bool(self.http):
            msg = "give either exec or http"
            raise ValueError(msg)
        if self.http:
            parse_address(self.http)
        return self


@dataclass(frozen=True)
class ProbeResult:
    """How a probe ended."""

    name: str
    has_passed: bool
    attempts: int
    detail: str
    """The last attempt's exit status or HTTP status, and what it said."""


_FILE: Final = TypeAdapter(Annotated[dict[Name, Probe], Field(max_length=MAX_DEFINED)])
Facts: TypeAlias = Mapping[str, str]


@dataclass
class Probes:
    """The probes of a device.

    Attributes:
        path: The owner's file; None where there are none.
        facts: Environment of the programs, besides PATH, HOME and LANG.
    """

    path: Path | None = None
    facts: dict[str, str] = field(default_factory=dict)

    def defined(self) -> dict[str, Probe]:
        """Return the probes by name; none where there is no file.

        Raises:
            ProbeSetupError: The file is none of its form, or others than its owner could have written to it.
        """
        if self.path is None:
            return {}
        try:
            data = read_owned(self.path, MAX_FILE_BYTES)
            return _FILE.validate_python(tomllib.loads(data.decode()))
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except OwnerFileError as error:
            raise ProbeSetupError(f"reading the probes in {self.path}: {error}", error.remedy) from error
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ProbeSetupError(f"reading the probes in {self.path}: {error}", _HOW) from error
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise ProbeSetupError(f"reading the probes in {self.path}: {where}: {first['msg']}", _HOW) from error

    def check(self, names: Sequence[str]) -> dict[str, Probe]:
        """Return the probes of these names; who names none does not depend on the file.

        Raises:
            ProbeSetupError: One is not defined on this device, or the file can not be read.
        """
        if not names:
            return {}
        defined = self.defined()
        for name in names:
            if name not in defined:
                known = ", ".join(sorted(defined)) or "none"
                message = f"finding the probe {name!r}: this device has {known}"
                remedy = f"its owner defines it in {self.path}; or roll out without it: {_HOW}"
                raise ProbeSetupError(message, remedy)
        return {name: defined[name] for name in names}

    async def run(self, name: str, facts: Facts | None = None) -> ProbeResult:
        """Run one probe until it passes or its attempts are over.

        Args:
            name: As defined in the file.
            facts: More of the program's environment.

        Raises:
            ProbeSetupError: It is not defined, or can not be run at all.
        """
        probe = self.check([name])[name]
        answer = ProbeAnswer(has_passed=False, detail="")
        for attempt in range(1, probe.attempts + 1):
            answer = await self._attempt(name, probe, {**self.facts, **(facts or {})})
            if answer.has_passed:
                return ProbeResult(name, has_passed=True, attempts=attempt, detail=answer.detail)
            if attempt < probe.attempts:
                await anyio.sleep(probe.interval_s)
        return ProbeResult(name, has_passed=False, attempts=probe.attempts, detail=answer.detail)

    async def require(self, names: Sequence[str], facts: Facts | None = None) -> None:
        """Run probes one after another.

        Raises:
            ProbeError: One did not pass.
            ProbeSetupError: One is not defined, or can not be run at all.
        """
        for name in names:
            result = await self.run(name, facts)
            if not result.has_passed:
                raise ProbeError(f"probe {name!r} did not pass in {result.attempts} attempts: {result.detail}")

    async def _attempt(self, name: str, probe: Probe, facts: Facts) -> ProbeAnswer:
        if probe.exec:
            return await execute(name, probe.exec, probe.timeout_s, facts)
        return await ask(name, probe.http, probe.method, probe.body, probe.content_type, probe.status, probe.timeout_s)
