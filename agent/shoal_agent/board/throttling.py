"""Whether the board slows itself down, and why.

Sources: the Raspberry Pi documentation of `vcgencmd get_throttled`, whose bits its kernel gives in
/sys/devices/platform/soc/soc:firmware/get_throttled as well; elsewhere the cooling devices of the Linux kernel
(Documentation/driver-api/thermal/sysfs-api), of which those count that slow a processor down.
"""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from shoal_agent.board.sysfs import numbered, read_int, read_text

_FIRMWARE: Final = "sys/devices/platform/soc/soc:firmware/get_throttled"
_MAILBOX: Final = "dev/vcio"
"""How `vcgencmd` reaches the firmware; without it there is nobody to ask."""
_BITS: Final = {0: "under_voltage", 1: "frequency_capped", 2: "throttled", 3: "soft_temperature_limit"}
_SINCE_BOOT: Final = 16
_ASK_S: Final = 2.0
_SLOWING: Final = re.compile(r"cpufreq|devfreq|processor|throttle|cpu-|gpu-", re.IGNORECASE)
"""Types of cooling devices that slow a processor down; a fan is none."""


class Throttle(NamedTuple):
    """One reason to slow down: whether it holds now, and whether it has held since the start, where that is known."""

    reason: str
    is_active: bool
    has_been_active: bool | None = None


def ask_vcgencmd() -> str:
    """Return what `vcgencmd get_throttled` says, such as `throttled=0x50000`; nothing where it can not be asked."""
    try:
        asked = subprocess.run(
            ["vcgencmd", "get_throttled"], capture_output=True, text=True, timeout=_ASK_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return asked.stdout


def throttles(root: Path = Path("/"), ask: Callable[[], str] = ask_vcgencmd) -> tuple[Throttle, ...]:
    """Return the reasons that the board knows of, whether or not they hold; none where it tells of none.

    Args:
        root: Where `sys` and `dev` are looked for.
        ask: Asks a Raspberry Pi's firmware, where the kernel does not tell.
    """
    bits = read_int(root / _FIRMWARE, 16)
    if bits is None and (root / _MAILBOX).exists():
        found = re.search(r"throttled=0x([0-9a-fA-F]+)", ask())
        bits = int(found[1], 16) if found else None
    if bits is not None:
        return tuple(
            Throttle(reason, bool(bits >> bit & 1), bool(bits >> (bit + _SINCE_BOOT) & 1))
            for bit, reason in _BITS.items()
        )
    return _cooling(root)


def _cooling(root: Path) -> tuple[Throttle, ...]:
    """Several devices of one type, one a core, are one reason."""
    active: dict[str, bool] = {}
    for folder in numbered(root / "sys/class/thermal", "cooling_device[0-9]*"):
        kind, state = read_text(folder / "type"), read_int(folder / "cur_state")
        if kind is not None and state is not None and _SLOWING.search(kind):
            active[kind] = active.get(kind, False) or state > 0
    return tuple(Throttle(kind, is_active) for kind, is_active in active.items())
