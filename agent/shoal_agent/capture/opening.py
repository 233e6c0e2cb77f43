"""Whether anything is captured on this device at all."""

from collections.abc import Callable
from datetime import datetime
from logging import getLogger
from pathlib import Path

from shoal_agent.capture.capturer import Capture
from shoal_agent.capture.errors import CaptureError
from shoal_agent.capture.rules import read_rules
from shoal_agent.capture.store import CaptureStore
from shoal_agent.encryption_key import EncryptionKey
from shoal_agent.serving.models import Observer

_log = getLogger(__name__)


def open_capture(
    rules_file: Path | None,
    watched: Observer,
    folder: Path,
    key: Callable[[], EncryptionKey],
    now: Callable[[], datetime],
) -> Capture | None:
    """Return what captures by the owner's rules; None where the owner does not allow it, or has written no rules.

    Rules that can not be read are logged, and capture nothing: what serves is not held up by them.

    Args:
        rules_file: The owner's rules; None: capture is not allowed.
        watched: Is shown everything that is served.
        folder: Where samples are kept.
        key: Gives the device's encryption key.
        now: Trusted time.
    """
    if rules_file is None:
        return None
    try:
        rules = read_rules(rules_file)
    except CaptureError as error:
        _log.error("nothing is captured: %s; %s", error, error.remedy)
        return None
    if rules is None:
        _log.warning("capture is allowed, but there are no rules in %s: nothing is captured", rules_file)
        return None
    _log.warning("samples of %s are captured by the rules in %s", ", ".join(sorted(rules.models)), rules_file)
    return Capture(watched, rules, CaptureStore(folder, now), key, now)
