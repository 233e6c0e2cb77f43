"""Answers by POST to an address: some rows a request, each with its `Idempotency-Key`.

The header is that of the IETF's draft-ietf-httpapi-idempotency-key-header: who knows it takes a request once, however
often it comes.
"""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, ClassVar, Final

from pydantic import Field, field_validator

from shoal_training.batch_inference.sinks.noted import NotedWriter
from shoal_training.batch_inference.sinks.sink import Sink, SinkContext, Writer
from shoal_training.errors import SinkError
from shoal_training.ingestion.fetching import BUSY, LONGEST_BACKOFF_S, retry_after_s
from shoal_training.ingestion.http_api import check_headers, check_url
from shoal_training.secret import secret

if TYPE_CHECKING:
    import httpx

KEY_HEADER: Final = "Idempotency-Key"
_SHOWN: Final = 200
"""Characters of an answer that errors show."""


class HttpSink(Sink):
    """An address. A part that was being sent when the process was killed comes again, under the same keys."""

    kind: ClassVar[str] = "http"
    is_exactly_once: ClassVar[bool] = False

    url: str = Field(pattern=r"^https?://", max_length=4096)
    """Gets `{"run": …, "part": …, "rows": […]}`."""
    manifest_url: str | None = Field(default=None, pattern=r"^https?://", max_length=4096)
    """Gets the manifest, once all parts are there."""
    headers: dict[str, str] = Field(default={})
    secret_headers: dict[str, str] = Field(default={})
    """Headers whose values environment variables hold, by the variable's name: `{Authorization: API_TOKEN}`."""
    rows_per_request: int = Field(default=500, ge=1, le=100_000)
    timeout_s: float = Field(default=30, gt=0, le=3600)
    """For an answer."""
    retries: int = Field(default=5, ge=0, le=100)
    """Of a request, where the receiver is busy or out of reach."""
    backoff_s: float = Field(default=0.5, gt=0, le=60)
    """Before the first of these, doubled before each other; `Retry-After` stands before it."""
    longest_wait_s: float = Field(default=300, ge=0)
    """That `Retry-After` may ask for."""

    @field_validator("url", "manifest_url")
    @classmethod
    def _check_url(cls, url: str | None) -> str | None:
        return None if url is None else check_url(url)

    @field_validator("headers")
    @classmethod
    def _check_headers(cls, headers: dict[str, str]) -> dict[str, str]:
        return check_headers(headers)

    @property
    def label(self) -> str:
        """See `Sink`."""
        return self.url

    @contextmanager
    def opened(self, context: SinkContext) -> Iterator[Writer]:
        """See `Sink`."""
        import httpx

        doing = f"writing to {self.label}"
        secrets = {name: secret(variable, doing) for name, variable in self.secret_headers.items()}
        headers = {"Content-Type": "application/json", **self.headers, **secrets}
        with httpx.Client(timeout=self.timeout_s, headers=headers) as client:
            yield _HttpWriter(self, client, context)


class _HttpWriter(NotedWriter):
    def __init__(
        self, sink: HttpSink, client: "httpx.Client", context: SinkContext, pause: Callable[[float], None] = time.sleep
    ) -> None:
        super().__init__(context.run, context.notes)
        self._sink, self._client, self._pause = sink, client, pause

    def send(self, part: int, rows: Iterator[bytes]) -> None:
        """See `NotedWriter`."""
        at = 0
        while some := list(islice(rows, self._sink.rows_per_request)):
            at += 1
            body = b'{"run":"%s","part":%d,"rows":[%s]}' % (self.run.encode(), part, b",".join(some))
            self._post(self._sink.url, body, self.key(part, at))

    def send_manifest(self, content: bytes) -> None:
        """See `NotedWriter`."""
        if self._sink.manifest_url is not None:
            self._post(self._sink.manifest_url, content, self.run)

    def _post(self, url: str, body: bytes, key: str) -> None:
        for attempt in range(self._sink.retries + 1):
            told, wait_s = self._try(url, body, key)
            if not told:
                return
            if attempt < self._sink.retries:
                longest = min(self._sink.backoff_s * 2**attempt, LONGEST_BACKOFF_S)
                wait_s = longest * random.uniform(0.5, 1) if wait_s is None else wait_s  # noqa: S311 - no secret
                if wait_s > self._sink.longest_wait_s:
                    break
                self._pause(wait_s)
        raise SinkError(f"writing to {url}: {told}, {attempt + 1} times; run again when it is there")

    def _try(self, url: str, body: bytes, key: str) -> tuple[str, float | None]:
        """Ask once; return why to ask again, empty if it was taken, and after how many seconds that is wanted."""
        import httpx

        try:
            answer = self._client.post(url, content=body, headers={KEY_HEADER: key})
        except httpx.TransportError as error:
            return f"{type(error).__name__}: {error}".rstrip(": "), None
        except httpx.InvalidURL as error:
            raise SinkError(f"writing to {url}: {error}; mend the URL") from error
        if answer.is_success:
            return "", None
        if answer.status_code in BUSY:
            return f"it answers {answer.status_code}", retry_after_s(answer.headers.get("Retry-After"))
        raise SinkError(
            f"writing to {url}: it answers {answer.status_code}: {answer.text[:_SHOWN]!r}; mend the address, the token "
            "or the rows"
        )
