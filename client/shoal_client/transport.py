"""HTTP to a hub: TLS by its CA, the operator's token, and errors as the hub words them."""

import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx
from pydantic import TypeAdapter, ValidationError

from shoal_client.errors import ApiError, ApprovalPendingError, HubUnreachableError, ProfileError
from shoal_client.operators import Approval

API = "/api/v1"
_TIMEOUT_S = 30.0
_TRACEPARENT = "traceparent"
"""W3C Trace Context: https://www.w3.org/TR/trace-context/, section 3.2."""

Answer = TypeVar("Answer")


class Transport:
    """One connection pool to one hub. Safe for use by several threads.

    Raises:
        ProfileError: The address or the token is none that can be sent.
    """

    def __init__(self, url: str, token: str, ca_path: Path | None, http: httpx.BaseTransport | None = None) -> None:
        if not url.startswith("https://"):
            raise ProfileError(f"{url} does not begin with https://", "give the hub's address as https://HOST:PORT")
        if re.fullmatch(r"[!-~]+", token) is None:
            raise ProfileError(
                "the operator's token is empty, or holds what no token does", "give the whole token, shoal_…"
            )
        self.url = url.rstrip("/")
        self._http = httpx.Client(
            base_url=self.url + API,
            headers={"Authorization": f"Bearer {token}"},
            timeout=_TIMEOUT_S,
            verify=_trust(ca_path),
            transport=http,
        )

    def follow(self, traceparent: str) -> None:
        """Send this header with each request from now on; an empty one: none."""
        self._http.headers.pop(_TRACEPARENT, None)
        if re.fullmatch(r"[!-~]+", traceparent):
            self._http.headers[_TRACEPARENT] = traceparent

    def close(self) -> None:
        """Close every connection."""
        self._http.close()

    def call(self, method: str, path: str, answer: type[Answer], **request: Any) -> Answer:  # noqa: ANN401 - httpx's own
        """Send a request and read the answer as `answer`.

        Raises:
            ApiError: The hub refused.
            HubUnreachableError: No hub answered in time.
        """
        return _read(self._send(method, path, **request), answer)

    def propose(self, method: str, path: str, answer: type[Answer], **request: Any) -> Answer:  # noqa: ANN401
        """Send a request that a policy may have wait for approvals, and read the answer as `answer`.

        Raises:
            ApprovalPendingError: It waits.
            ApiError: The hub refused.
            HubUnreachableError: No hub answered in time.
        """
        response = self._send(method, path, **request)
        if response.status_code == httpx.codes.ACCEPTED:
            raise ApprovalPendingError(_read(response, Approval))
        return _read(response, answer)

    def fetch(self, method: str, path: str, **request: Any) -> bytes:  # noqa: ANN401 - httpx's own
        """Send a request and return the answer's bytes.

        Raises:
            ApiError: The hub refused.
            HubUnreachableError: No hub answered in time.
        """
        return self._send(method, path, **request).content

    @contextmanager
    def stream(self, path: str, *, read_timeout_s: float | None = _TIMEOUT_S) -> Iterator[httpx.Response]:
        """Open an answer to read while it comes.

        Raises:
            ApiError: The hub refused.
            HubUnreachableError: No hub answered, or it went away.
        """
        timeout = httpx.Timeout(_TIMEOUT_S, read=read_timeout_s)
        with self._reaching(), self._http.stream("GET", path, timeout=timeout) as response:
            if response.is_error:
                response.read()
                raise _refusal(response)
            yield response

    def _send(self, method: str, path: str, **request: Any) -> httpx.Response:  # noqa: ANN401 - httpx's own
        with self._reaching():
            response = self._http.request(method, path, **request)
        if response.is_error:
            raise _refusal(response)
        return response

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except httpx.TransportError as error:
            raise _unreachable(self.url, error) from error


def _read(response: httpx.Response, answer: type[Answer]) -> Answer:
    try:
        return TypeAdapter(answer).validate_json(response.content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        msg = f"reading the answer to {response.request.method} {response.url.path}: {first['loc']}: {first['msg']}"
        raise ApiError(200, "unexpected_answer", msg, "use the client of the hub's version") from error


def _trust(ca_path: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_path)
    except (OSError, ssl.SSLError) as error:
        msg = f"reading the hub's CA {ca_path}: {error}"
        raise ProfileError(msg, "fetch it from the hub's /api/v1/ca.pem over a way you trust") from error


def _unreachable(url: str, error: httpx.TransportError) -> HubUnreachableError:
    text = str(error) or type(error).__name__
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return HubUnreachableError(
            f"talking to {url}: its certificate is not by the CA that the profile trusts, or is for another name",
            "log in again with the hub's ca.pem and the name that its certificate is for",
        )
    return HubUnreachableError(f"talking to {url}: {text}", "check that the hub runs (shoal hub up) and the address")


def _refusal(response: httpx.Response) -> ApiError:
    try:
        error = response.json()["error"]
        return ApiError(response.status_code, error["code"], error["message"], error["remedy"])
    except (ValueError, KeyError, TypeError):
        text = response.text[:200]
        return ApiError(response.status_code, "http", f"{response.status_code}: {text}", "is this address a Shoal hub?")
