"""What a secret of the hub looks like in a text, and how it is taken out: for logs, and for the doctor's search."""

import logging
import re
import sys
import threading
from types import TracebackType
from typing import Final, NamedTuple

REDACTED: Final = "(secret)"


class Secret(NamedTuple):
    """A kind of secret; the group `secret` of the pattern is what must not be seen."""

    kind: str
    pattern: re.Pattern[str]


_PRIVATE_KEY: Final = r"-----BEGIN (?!ENCRYPTED)[A-Z ]*PRIVATE KEY-----(?P<secret>[A-Za-z0-9+/=\s\\]{16,})(?:-----END)?"
_URL_PASSWORD: Final = r"\b[a-z][a-z0-9+.-]*://[^\s:/@\"']*:(?P<secret>(?!\*\*\*@)[^\s/\"']+)@"  # noqa: S105 - a pattern
SECRETS: Final = (
    Secret("an operator's token", re.compile(r"(?P<secret>\bshoal_[A-Za-z0-9_-]{32,})")),
    Secret("an enrolment token", re.compile(r"(?P<secret>\bshoal1\.[0-9a-f]{16,64}\.[A-Za-z0-9_-]{16,})")),
    Secret("a private key", re.compile(_PRIVATE_KEY)),
    Secret("a password in a URL", re.compile(_URL_PASSWORD, re.IGNORECASE)),
    Secret("a credential of a request", re.compile(r"\b(?:Bearer|Basic)\s+(?P<secret>[A-Za-z0-9._~+/=-]{16,})")),
    Secret("a console session", re.compile(r"__Host-shoal(?:-oidc)?=(?P<secret>[^\s;\"']{16,})")),
)


def find_secrets(text: str) -> set[str]:
    """Return the kinds of secrets that a text holds; the secrets themselves stay where they are."""
    return {
        secret.kind for secret in SECRETS if any(found["secret"] != REDACTED for found in secret.pattern.finditer(text))
    }


def redact(text: str) -> str:
    """Return a text with every secret taken out."""
    for secret in SECRETS:
        text = secret.pattern.sub(_without, text)
    return text


def _without(found: re.Match[str]) -> str:
    whole, secret = found[0], found["secret"]
    return whole.replace(secret, REDACTED)


class RedactingFormatter(logging.Formatter):
    """Takes secrets out of whole lines, tracebacks included: whatever was logged, by whichever library."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line without secrets."""
        return redact(super().format(record))


def install_logging() -> None:
    """Log to standard error, without secrets; what ends a thread or the process is logged and not printed raw."""
    handler = logging.StreamHandler()
    handler.setFormatter(RedactingFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    sys.excepthook = _on_end_of_process
    threading.excepthook = _on_end_of_thread


def _on_end_of_process(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    logging.getLogger("shoal_hub").critical("the process ends", exc_info=(kind, error, trace))


def _on_end_of_thread(ended: threading.ExceptHookArgs) -> None:
    name = ended.thread.name if ended.thread else "a thread"
    error = ended.exc_value or ended.exc_type()
    logging.getLogger("shoal_hub").error("%s has ended", name, exc_info=error)
