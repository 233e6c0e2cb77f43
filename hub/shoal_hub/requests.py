"""Bounds on what callers send: body sizes, request rates, and text that both databases can keep."""

import ipaddress
import threading
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Annotated, Final

from fastapi import HTTPException, Response
from pydantic import BeforeValidator, Field, StringConstraints
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shoal_contract.ids import NAME_PATTERN
from shoal_hub.error_response import refusal
from shoal_hub.errors import HubError, TooLargeError, TooManyRequestsError

_MAX_KEYS: Final = 10_000
LARGE_REMEDY: Final = "send less, or raise SHOAL_MAX_BODY_BYTES or SHOAL_MAX_UPLOAD_BYTES at the hub"


def _storable(value: object) -> object:
    if isinstance(value, str) and ("\x00" in value or any("\ud800" <= character <= "\udfff" for character in value)):
        msg = "holds a NUL or half a surrogate pair, which text cannot keep"
        raise ValueError(msg)
    return value


Text = Annotated[str, BeforeValidator(_storable)]
"""A text of any length that a body may have."""
Line = Annotated[str, BeforeValidator(_storable), StringConstraints(max_length=256)]
"""A label or comment that a person typed."""
GroupName = Annotated[str, StringConstraints(pattern=f"^$|{NAME_PATTERN}")]
"""A device's group; empty for none."""
RowNumber = Annotated[int, Field(ge=1, le=2**31 - 1)]
"""A version's number or a row's id, as both databases can compare it."""


class BodyLimit:
    """Refuses bodies that are too large, by their declared length and, without one, while they arrive.

    Args:
        app: What answers the request.
        limit_of: How many bytes this request may send; raises a `HubError` where the caller may send none.
        refuse: Makes the answer that tells such an error.
    """

    def __init__(
        self,
        app: ASGIApp,
        limit_of: Callable[[Request], Awaitable[int]],
        refuse: Callable[[Request, HubError], Response] = lambda _, error: refusal(error),
    ) -> None:
        self._app = app
        self._limit_of = limit_of
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, unless it declares too much; stop reading where it sends too much."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            limit_bytes = await self._limit_of(Request(scope))
            declared = dict(scope["headers"]).get(b"content-length", b"0")
            if not declared.isdigit() or int(declared) > limit_bytes:
                raise TooLargeError(f"the body is larger than {limit_bytes} bytes", LARGE_REMEDY)
        except HubError as error:
            response = self._refuse(Request(scope), error)
            response.headers["connection"] = "close"  # the body stays unread: this one carries no other request
            await response(scope, receive, send)
            return
        received_bytes = 0

        async def bounded() -> Message:
            nonlocal received_bytes
            message = await receive()
            received_bytes += len(message.get("body", b""))
            if received_bytes > limit_bytes:
                # FastAPI lets only this class through while it reads a body; error_response.py gives it its form.
                raise HTTPException(TooLargeError.status, f"the body is larger than {limit_bytes} bytes")
            return message

        await self._app(scope, bounded, send)


def network_of(address: str) -> str:
    """Return what a limit counts as one caller: an IPv4 address, or the /64 network that an IPv6 host has to itself."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(ipaddress.ip_network((parsed, 64), strict=False)) if parsed.version == 6 else address  # noqa: PLR2004


class RateLimit:
    """A token bucket a key: `per_minute` requests a minute, as many at once. In memory, for one process.

    Args:
        per_minute: How many.
        what: What is counted, for the message.
        setting: The setting that says how many, for the remedy.
        clock: Seconds that only go forward.
    """

    def __init__(self, per_minute: float, what: str, setting: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_minute = per_minute
        self._what = what
        self._setting = setting
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, key: str, named: str) -> None:
        """Take one request of `key`, which the message calls `named`.

        Raises:
            TooManyRequestsError: It has none left for now.
        """
        now = self._clock()
        with self._lock:
            left, since = self._buckets.pop(key, (self._per_minute, now))
            left = min(self._per_minute, left + (now - since) * self._per_minute / 60)
            self._buckets[key] = (left - 1 if left >= 1 else left, now)
            if len(self._buckets) > _MAX_KEYS:
                self._buckets.popitem(last=False)
        if left < 1:
            raise TooManyRequestsError(
                f"more than {self._per_minute:g} {self._what} a minute came from {named}",
                f"wait a minute; where so many are right, raise {self._setting} at the hub",
                retry_after_s=(1 - left) * 60 / self._per_minute,
            )
