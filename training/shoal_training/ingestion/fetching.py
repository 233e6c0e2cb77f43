"""Asks an API for one answer: again where it is busy or out of reach, for a bounded time, and of a bounded size."""

import json
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final

from shoal_training.errors import DataError
from shoal_training.ingestion.paging import Parameters

if TYPE_CHECKING:
    import httpx

BUSY: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers after which asking again may help."""
LONGEST_BACKOFF_S: Final = 60.0
_SHOWN: Final = 200
"""Characters of an answer that errors show."""


class NoJsonError(DataError):
    """An answer is no JSON."""


@dataclass(frozen=True)
class Answer:
    """What came back.

    Attributes:
        body: What JSON has.
        links: Of the header `Link`, by relation.
    """

    body: Any
    links: Mapping[str, str]


@dataclass
class Fetching:
    """Asks one API, and counts what it has cost.

    Attributes:
        client: That asks.
        retries: How often one request is sent again.
        backoff_s: Before the first of these, doubled before each other.
        longest_wait_s: That an API may ask for by `Retry-After`.
        ends_at: By `time.monotonic`, when all must be done.
        max_bytes: Of all answers together, unpacked.
        pause: Waits for as many seconds.
    """

    client: "httpx.Client"
    retries: int
    backoff_s: float
    longest_wait_s: float
    ends_at: float
    max_bytes: int
    pause: Callable[[float], None]
    bytes_read: int = field(default=0, init=False)

    def get(self, url: str, parameters: Parameters, headers: Mapping[str, str]) -> Answer:
        """Ask until there is an answer.

        Raises:
            NoJsonError: It is no JSON.
            DataError: There is none in time, it is too large, or an error; the address is named.
        """
        for attempt in range(self.retries + 1):
            reason, wait_s = self._try(url, parameters, headers)
            if isinstance(reason, Answer):
                return reason
            if attempt == self.retries:
                raise DataError(f"reading {url}: {reason}, {attempt + 1} times; try again later")
            longest = min(self.backoff_s * 2**attempt, LONGEST_BACKOFF_S)
            self._wait(url, longest * random.uniform(0.5, 1) if wait_s is None else wait_s, reason)  # noqa: S311 - no secret
        raise AssertionError(url)

    def _try(self, url: str, parameters: Parameters, headers: Mapping[str, str]) -> tuple[Answer | str, float | None]:
        """Ask once; return the answer, or why to ask again and after how many seconds the API wants it."""
        import httpx

        remaining_s = self._remaining_s(url)
        try:
            with self._answer(url, parameters, headers, remaining_s) as answer:
                if answer.status_code in BUSY:
                    return f"the API answers {answer.status_code}", retry_after_s(answer.headers.get("Retry-After"))
                data = self._read(answer, url)
        except httpx.TransportError as error:
            return f"{type(error).__name__}: {error}".rstrip(": "), None
        except (httpx.InvalidURL, httpx.DecodingError) as error:
            raise DataError(f"reading {url}: {error}; mend the URL") from error
        if not answer.is_success:
            raise DataError(f"reading {url}: {_refusal(answer, data)}")
        try:
            return Answer(json.loads(data), _links(answer)), None
        except (ValueError, RecursionError) as error:
            shown = data[:_SHOWN].decode(errors="replace")
            raise NoJsonError(f"the answer is no JSON ({error}): {shown!r}") from error

    @contextmanager
    def _answer(
        self, url: str, parameters: Parameters, headers: Mapping[str, str], remaining_s: float
    ) -> "Iterator[httpx.Response]":
        """Send the request; the answer's body has not been read."""
        own = self.client.timeout.read or remaining_s
        asked = self.client.build_request(
            "GET", url, params=dict(parameters) or None, headers=dict(headers), timeout=min(own, remaining_s)
        )
        answer = self.client.send(asked, stream=True)
        try:
            yield answer
        finally:
            answer.close()

    def _read(self, answer: "httpx.Response", url: str) -> bytes:
        parts = bytearray()
        for part in answer.iter_bytes():
            parts += part
            self.bytes_read += len(part)
            if self.bytes_read > self.max_bytes:
                raise DataError(
                    f"reading {url}: more than {self.max_bytes} bytes came; ask for less, or raise `max_bytes`"
                )
            self._remaining_s(url)  # an API that drips
        return bytes(parts)

    def _remaining_s(self, url: str) -> float:
        remaining_s = self.ends_at - time.monotonic()
        if remaining_s <= 0:
            raise DataError(f"reading {url}: it takes longer than `total_s`; ask for less, or raise it")
        return remaining_s

    def _wait(self, url: str, wait_s: float, reason: str) -> None:
        if wait_s > min(self.longest_wait_s, self._remaining_s(url)):
            raise DataError(f"reading {url}: {reason} and wants {wait_s:.0f} s until the next try; try again later")
        self.pause(wait_s)


def retry_after_s(text: str | None) -> float | None:
    """Return the seconds that a header `Retry-After` asks for (RFC 9110): a number, or a date; None: neither."""
    if not text:
        return None
    if text.strip().isdigit():
        return float(text)
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, (at - datetime.now(timezone.utc)).total_seconds()) if at.tzinfo else None


def _links(answer: "httpx.Response") -> dict[str, str]:
    return {name: one["url"] for name, one in answer.links.items() if name and "url" in one}


def _refusal(answer: "httpx.Response", data: bytes) -> str:
    shown = data[:_SHOWN].decode(errors="replace")
    if answer.is_redirect:
        return f"it leads to {answer.headers.get('Location', '')[:_SHOWN]}; name that URL"
    remedy = {401: "name a token by `secret_headers`", 403: "use a token that may read it", 404: "mend the URL"}
    return f"the API answers {answer.status_code}: {shown!r}; {remedy.get(answer.status_code, 'look at what it says')}"
