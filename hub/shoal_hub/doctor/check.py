"""The one shape of a check: it looks, changes nothing, and says what it found and what to do."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

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


Check = Callable[[Patient], Finding]


def ok(name: str, found: str) -> Finding:
    """Return that all is well."""
    return Finding(name=name, verdict="ok", found=found)


def warn(name: str, found: str, remedy: str) -> Finding:
    """Return that something should be mended."""
    return Finding(name=name, verdict="warn", found=found, remedy=remedy)


def fail(name: str, found: str, remedy: str) -> Finding:
    """Return that something must be mended."""
    return Finding(name=name, verdict="fail", found=found, remedy=remedy)


def some(items: list[str]) -> str:
    """Return the first few of many as one line."""
    more = f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return ", ".join(items[:_SHOWN]) + more
