"""The hub's API over HTTPS, as far as a device needs it: one request, one bounded answer."""

import http.client
import json
import ssl
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import NamedTuple
from urllib.parse import urlsplit

from shoal_agent.errors import HubError, HubUnreachableError

TIMEOUT_S = 20.0
DEFAULT_PORT = 443
API = "/api/v1"
MAX_ANSWER_BYTES = 1024 * 1024
_SERVER_ERROR = 500


class Answer(NamedTuple):
    """What the hub answered, and when by its clock."""

    status: int
    body: bytes
    date: datetime | None


def call(hub_url: str, method: str, path: str, context: ssl.SSLContext, body: bytes | None = None) -> Answer:
    """Send one request, and return an answer of any status.

    Raises:
        HubError: The address is none.
        HubUnreachableError: No hub answered, or it is not one that `context` trusts.
    """
    try:
        parts = urlsplit(hub_url)
        host, port = parts.hostname, parts.port or DEFAULT_PORT
    except ValueError:
        host = None
    if not host or parts.scheme != "https":
        message = f"asking the hub at {hub_url!r}: an address like https://hub.example:8443 was expected"
        raise HubError(message, "give the hub's address with --hub")
    connection = http.client.HTTPSConnection(host, port, timeout=TIMEOUT_S, context=context)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
        response = connection.getresponse()
        content = response.read(MAX_ANSWER_BYTES)
    except (OSError, http.client.HTTPException) as error:
        message = f"asking the hub at {hub_url}: {error}"
        raise HubUnreachableError(message, "check the hub's address, its port and the network") from error
    finally:
        connection.close()
    return Answer(response.status, content, _date(response.getheader("Date")))


def refusal(hub_url: str, answer: Answer) -> HubError:
    """Return the error that a refused request comes to; one that may pass by itself is a HubUnreachableError."""
    try:
        error = json.loads(answer.body)["error"]
        code, text, remedy = str(error["code"]), str(error["message"]), str(error["remedy"])
    except (ValueError, KeyError, TypeError):
        code, text, remedy = "", answer.body[:200].decode(errors="replace"), None
    message = f"asking the hub at {hub_url}: the hub answered {answer.status}: {text}"
    if answer.status >= _SERVER_ERROR or answer.status == http.client.TOO_MANY_REQUESTS:
        return HubUnreachableError(message, remedy, code)
    return HubError(message, remedy, code)


def _date(text: str | None) -> datetime | None:
    try:
        date = parsedate_to_datetime(text or "")
    except ValueError:
        return None
    return date if date.tzinfo else None
