"""The one shape of a check: it looks, changes nothing, and says what it found and what to do."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

from shoal_hub.database import Database
from shoal_hub.settings import Settings

Verdict = Literal["ok", "warn", "fail"]
_SHOWN: Final = 5


class Finding(BaseModel):
    """What one check came to."""

    model_config = ConfigDict(frozen=True)

    name: str
    verdict: Verdict
    found: str
    remedy: str = ""


@dataclass(frozen=True)
class Patient:
    """The hub that is looked at."""

    settings: Settings
    database: Database
    now: datetime


class Found(NamedTuple):
    """What a check found, before it is known as whose."""

    verdict: Verdict
    found: str
    remedy: str = ""


@dataclass(frozen=True)
class Check:
    """One check: its name, by which monitoring knows it, and what looks."""

    name: str
    look: Callable[[Patient], Found]

    def __call__(self, patient: Patient) -> Finding:
        """Look at a hub."""
        return Finding(name=self.name, **self.look(patient)._asdict())


def check(name: str) -> Callable[[Callable[[Patient], Found]], Check]:
    """Make a function that looks into the check of this name."""
    return lambda look: Check(name, look)


def ok(found: str) -> Found:
    """Return that all is well."""
    return Found("ok", found)


def warn(found: str, remedy: str) -> Found:
    """Return that something should be mended."""
    return Found("warn", found, remedy)


def fail(found: str, remedy: str) -> Found:
    """Return that something must be mended."""
    return Found("fail", found, remedy)


def some(items: list[str]) -> str:
    """Return the first few of many as one line."""
    more = f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return ", ".join(items[:_SHOWN]) + more
