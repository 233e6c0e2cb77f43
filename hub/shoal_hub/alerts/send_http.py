"""Webhooks: JSON by POST to an address that alerts may go to, signed where the channel has a key."""

import hashlib
import hmac
import http.client
import json
import socket
import ssl
from contextlib import closing
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit

from shoal_hub.alerts.errors import DeliveryError
from shoal_hub.alerts.messages import AlertMessage
from shoal_hub.alerts.reach import Reach, connected
from shoal_hub.alerts.targets import SlackTarget, WebhookTarget

SIGNATURE: Final = "Shoal-Signature"
TIMESTAMP: Final = "Shoal-Timestamp"
IDEMPOTENCY_KEY: Final = "Idempotency-Key"
_MAX_SLACK_CHARS: Final = 3000


def send_webhook(
    target: WebhookTarget, key: str, message: AlertMessage, now: datetime, reach: Reach, timeout_s: float
) -> None:
    """Send a message to a program; it has it when it answers with 2xx.

    Raises:
        DeliveryError: It has not said so.
    """
    body = message.model_dump_json().encode()
    timestamp = str(int(now.timestamp()))
    signature = sign(target.secret.get_secret_value(), timestamp, body)
    headers = {IDEMPOTENCY_KEY: key, TIMESTAMP: timestamp, SIGNATURE: f"sha256={signature}"}
    _post(target.url.get_secret_value(), body, headers, reach, timeout_s)


def sign(secret: str, timestamp: str, body: bytes) -> str:
    """Return the HMAC-SHA256 (RFC 2104) of `timestamp.body`, in hexadecimal digits.

    The timestamp is of the attempt, and within the signature, so that a receiver can refuse what somebody sends again.
    """
    return hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def send_slack(target: SlackTarget, key: str, message: AlertMessage, reach: Reach, timeout_s: float) -> None:
    """Send a message to a chat, as Slack's incoming webhooks take it.

    Raises:
        DeliveryError: It was not taken.
    """
    text = f"*{_escaped(message.title)}*\n{_escaped(message.text)}"
    body = json.dumps({"text": text[:_MAX_SLACK_CHARS]}).encode()
    _post(target.url.get_secret_value(), body, {IDEMPOTENCY_KEY: key}, reach, timeout_s)


def _escaped(text: str) -> str:
    """Return text in which nothing is a link, a mention or a broadcast."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _post(url: str, body: bytes, headers: dict[str, str], reach: Reach, timeout_s: float) -> None:
    parts = urlsplit(url)
    is_tls, host = parts.scheme == "https", parts.hostname or ""
    port = parts.port or (443 if is_tls else 80)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    with connected(host, port, reach, timeout_s) as opened:
        try:
            with closing(_Connected(host, port, _tls(opened, host) if is_tls else opened, timeout_s)) as connection:
                connection.request("POST", path, body, {"Content-Type": "application/json", **headers})
                status = connection.getresponse().status
        except (OSError, http.client.HTTPException, ValueError) as error:
            # By its kind alone: what an answer says is no text for our logs, and may hold what was sent.
            told = getattr(error, "strerror", None) or type(error).__name__
            raise DeliveryError(f"{host} has not answered within {timeout_s:g} s: {told}") from error
    if not 200 <= status < 300:  # noqa: PLR2004 - HTTP's
        raise DeliveryError(f"{host} has answered with {status}")


def _tls(opened: socket.socket, host: str) -> socket.socket:
    return ssl.create_default_context().wrap_socket(opened, server_hostname=host)


class _Connected(http.client.HTTPConnection):
    """Speaks HTTP/1.1 over a connection that stands; it makes none by itself."""

    def __init__(self, host: str, port: int, opened: socket.socket, timeout_s: float) -> None:
        super().__init__(host, port, timeout=timeout_s)
        self.sock: Any = opened
        self.auto_open = 0
