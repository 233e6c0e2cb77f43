"""What a device's owner and its clock say in an update, set by hand."""

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from shoal_agent.conditions import Conditions
from shoal_agent.hold import Hold
from shoal_agent.probes import Probes
from shoal_agent.settings import UpdateSettings
from shoal_contract.desired import DesiredModel
from shoal_contract.update_policy import UpdatePolicy

NOON = datetime(2026, 11, 28, 12, 0, tzinfo=timezone.utc)


class Owner:
    """The surroundings of a device's updaters: `now`, `hold`, and probes in `<folder>/probes.toml`."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.now = NOON
        self.hold: Hold | None = None
        self.probes_file = folder / "probes.toml"
        self.failing: list[str] = []
        self.conditions = Conditions(
            now=lambda: self.now,
            hold=lambda: self.hold,
            probes=Probes(self.probes_file),
            settings=UpdateSettings(**settings),
            on_failing=self.failing.append,
        )

    def passes(self, **seconds: float) -> None:
        """Let time pass."""
        self.now += timedelta(**seconds)

    def define(self, text: str) -> None:
        """Write the probes' file."""
        self.probes_file.write_text(text)
        self.probes_file.chmod(0o600)


def under(wanted: DesiredModel, **policy: Any) -> DesiredModel:
    """Return a wish under a policy."""
    return wanted.model_copy(update={"policy": UpdatePolicy(**policy)})
