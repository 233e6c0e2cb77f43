"""The veto of the device's owner: while `<data>/hold` is there, no other version is activated.

Whatever lies under that name holds. The agent's own commands write JSON with a reason and an end; a file that another
program has put there holds as well, with its text as the reason.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from shoal_agent.durable import replace_file, sync_folder
from shoal_agent.errors import DiskError

MAX_REASON_CHARS: Final = 256
MAX_HOLD_S: Final = 366 * 86_400
_MAX_FILE_BYTES: Final = 4096


class Hold(BaseModel):
    """A veto in force."""

    model_config = ConfigDict(frozen=True)

    reason: str = Field(default="", max_length=MAX_REASON_CHARS)
    until: AwareDatetime | None = None

    def said(self) -> str:
        """Return reason and end as a part of a sentence."""
        reason = f": {self.reason}" if self.reason else ""
        return f"{reason}{f' (until {self.until:%Y-%m-%d %H:%M} UTC)' if self.until else ''}"


class HoldFile:
    """`<data>/hold`.

    Args:
        data_dir: The agent's data folder.
        now: Trusted time.
    """

    def __init__(self, data_dir: Path, now: Callable[[], datetime]) -> None:
        self._path = data_dir / "hold"
        self._now = now
        self.on_change: Callable[[], None] = lambda: None

    def read(self) -> Hold | None:
        """Return the veto in force; one that can not be read holds."""
        try:
            with self._path.open("rb") as file:
                data = file.read(_MAX_FILE_BYTES)
        except FileNotFoundError:
            return None
        except OSError as error:
            return Hold(reason=f"{self._path} can not be read: {error.strerror}")
        hold = _parse(data)
        return None if hold.until is not None and self._now() >= hold.until else hold

    def hold_for(self, reason: str, how_long: timedelta | None) -> Hold:
        """Make a veto that begins now and ends after a while, or when it is released.

        Raises:
            DiskError: The reason is longer than can be shown, or the time than `MAX_HOLD_S`.
        """
        if len(reason) > MAX_REASON_CHARS:
            message = f"holding what serves: a reason of {len(reason)} characters found, at most {MAX_REASON_CHARS}"
            raise DiskError(message, "give a shorter reason")
        if how_long is not None and not 0 < how_long.total_seconds() <= MAX_HOLD_S:
            message = f"holding what serves: {how_long.total_seconds():.0f} s found, at most {MAX_HOLD_S} s expected"
            raise DiskError(message, "give a shorter time, or none: it then holds until it is released")
        return Hold(reason=reason, until=self._now() + how_long if how_long else None)

    def put(self, hold: Hold) -> None:
        """Hold from now on.

        Raises:
            DiskError: The file could not be written; what held before still does.
        """
        try:
            replace_file(self._path, hold.model_dump_json(exclude_none=True).encode(), 0o644)
        except OSError as error:
            raise DiskError(f"holding what serves: writing {self._path}: {error}", "free some disk space") from error
        self.on_change()

    def release(self) -> bool:
        """Let updates go on; return whether something held them.

        Raises:
            DiskError: The file could not be deleted; it still holds.
        """
        was_held = self.read() is not None
        try:
            self._path.unlink(missing_ok=True)
            sync_folder(self._path.parent)
        except OSError as error:
            message = f"releasing what serves: deleting {self._path}: {error}"
            raise DiskError(message, "run the command as the user who runs the agent, or as root") from error
        self.on_change()
        return was_held


def _parse(data: bytes) -> Hold:
    try:
        return Hold.model_validate_json(data)
    except ValidationError:  # somebody else's lock file: its text is the reason
        text = data.decode(errors="replace").strip()
        return Hold(reason="".join(one if one.isprintable() else " " for one in text)[:MAX_REASON_CHARS])
