"""Sends anchors to a webhook, in a thread: the newest that it does not have yet, until it has taken it."""

import logging
import threading
from typing import Final
from urllib.parse import urlsplit

import httpx

log = logging.getLogger(__name__)

_TIMEOUT_S: Final = 10.0
_FIRST_DELAY_S: Final = 1.0
_LONGEST_DELAY_S: Final = 300.0


class Webhook:
    """One address that gets anchors by POST. A newer anchor vouches for all that an older one did, and takes its place.

    Args:
        url: https only; its path may hold a secret, so that logs name the host alone.
        transport: Another httpx transport, for tests.
        first_delay_s: Between a failure and the next try; doubled with each.
    """

    def __init__(
        self, url: str, transport: httpx.BaseTransport | None = None, *, first_delay_s: float = _FIRST_DELAY_S
    ) -> None:
        self._url = url
        self._host = urlsplit(url).hostname
        self._transport = transport
        self._first_delay_s = first_delay_s
        self._news = threading.Condition()
        self._newest: bytes | None = None
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="audit-webhook", daemon=True)

    def start(self) -> None:
        """Begin, in the background."""
        self._thread.start()

    def send(self, signed: bytes) -> None:
        """Have an anchor sent; returns at once."""
        with self._news:
            self._newest = signed
            self._news.notify_all()

    def stop(self) -> None:
        """End the thread; an anchor that was not taken stays in the file of anchors."""
        with self._news:
            self._is_stopping = True
            self._news.notify_all()
        self._thread.join(_TIMEOUT_S)

    def _run(self) -> None:
        delay_s = self._first_delay_s
        with httpx.Client(timeout=_TIMEOUT_S, transport=self._transport) as client:
            while (signed := self._next()) is not None:
                if self._post(client, signed):
                    delay_s = self._first_delay_s
                    continue
                with self._news:
                    self._newest = self._newest or signed
                    self._news.wait_for(lambda: self._is_stopping, delay_s)
                delay_s = min(2 * delay_s, _LONGEST_DELAY_S)

    def _next(self) -> bytes | None:
        with self._news:
            self._news.wait_for(lambda: self._newest is not None or self._is_stopping)
            signed, self._newest = self._newest, None
            return None if self._is_stopping else signed

    def _post(self, client: httpx.Client, signed: bytes) -> bool:
        try:
            response = client.post(self._url, content=signed, headers={"content-type": "application/json"})
        except httpx.HTTPError as error:
            log.warning("the audit webhook at %s was not reached: %s; trying again", self._host, type(error).__name__)
            return False
        if not response.is_success:
            log.warning("the audit webhook at %s answered %d; trying again", self._host, response.status_code)
        return response.is_success
