"""Rows from an HTTP API that answers with JSON, page by page."""

import time
from collections.abc import Iterator, Mapping
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, ClassVar, Final
from urllib.parse import urljoin, urlsplit

from pydantic import Field, field_validator

from shoal_training.errors import DataError
from shoal_training.ingestion.column_types import ColumnTypes, arrow_types
from shoal_training.ingestion.fetching import Fetching, NoJsonError
from shoal_training.ingestion.paging import AnyPaging, Next, Page, Parameters, inside
from shoal_training.ingestion.records import RecordTables, Row
from shoal_training.ingestion.source import Reading, Source
from shoal_training.secret import secret

if TYPE_CHECKING:
    import pyarrow as pa

_GB: Final = 1 << 30
_HIDING: Final = ("authorization", "cookie", "token", "secret", "key")
"""Words in the names of headers that hold secrets."""


def check_url(url: str) -> str:
    """Return a URL that holds no secret.

    Raises:
        ValueError: It does.
    """
    if "@" in urlsplit(url).netloc:
        raise ValueError("a name or password stands in it; put them into a header by `secret_headers`")
    return url


def check_headers(headers: dict[str, str]) -> dict[str, str]:
    """Return headers that hold no secret, as far as their names tell.

    Raises:
        ValueError: One does.
    """
    telling = [name for name in headers if any(word in name.lower() for word in _HIDING)]
    if telling:
        raise ValueError(f"{telling[0]} holds a secret; name it under `secret_headers`, with an environment variable")
    return headers


class HttpSource(Source):
    """A list in the JSON answers of an HTTP API; its objects are rows."""

    kind: ClassVar[str] = "http"

    url: str = Field(pattern=r"^https?://", max_length=4096)
    parameters: dict[str, str | int | float | bool] = Field(default={})
    headers: dict[str, str] = Field(default={})
    secret_headers: dict[str, str] = Field(default={})
    """Headers whose values environment variables hold, by the variable's name: `{Authorization: API_TOKEN}`."""
    records: str = Field(default="", max_length=256)
    """Where the list stands in an answer, with dots between: `data.items`. Empty: the answer is the list."""
    paging: AnyPaging | None = None
    """How to ask for the next page; the first one is all without."""
    columns: ColumnTypes = Field(default={})
    timeout_s: float = Field(default=30, gt=0, le=3600)
    """For an answer to begin, or go on."""
    total_s: float = Field(default=3600, gt=0)
    """For all pages together."""
    retries: int = Field(default=5, ge=0, le=100)
    """Of a page, where the API is busy or out of reach."""
    backoff_s: float = Field(default=0.5, gt=0, le=60)
    """Before the first of these, doubled before each other; `Retry-After` stands before it."""
    longest_wait_s: float = Field(default=300, ge=0)
    """That `Retry-After` may ask for."""
    max_pages: int = Field(default=100_000, ge=1)
    max_bytes: int = Field(default=4 * _GB, ge=1)
    """Of all answers together."""

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: str) -> str:
        return check_url(url)

    @field_validator("headers")
    @classmethod
    def _check_headers(cls, headers: dict[str, str]) -> dict[str, str]:
        return check_headers(headers)

    @property
    def label(self) -> str:
        """See `Source`."""
        return self.name or self.url

    def tables(self, reading: Reading) -> Iterator["pa.Table"]:
        """See `Source`."""
        rows = self._rows(reading)
        first = list(islice(rows, 1))
        if first:
            made = RecordTables(self.label, reading, declared=arrow_types(self.columns))
            yield from made.tables(chain(first, rows))

    def fingerprint(self, reading: Reading) -> str | None:  # noqa: ARG002 - only reading tells
        """See `Source`."""
        return None

    def _rows(self, reading: Reading) -> Iterator[Row]:
        number = 0
        for page in self._pages(reading):
            for row in page.rows:
                number += 1
                if isinstance(row, dict):
                    yield number, row
                else:
                    reading.refuse(self.label, number, f"{str(row)[:80]!r} found, an object expected")

    def _pages(self, reading: Reading) -> Iterator[Page]:
        import httpx

        secrets = {name: secret(variable, f"reading {self.label}") for name, variable in self.secret_headers.items()}
        headers = {**self.headers, **secrets}
        ends_at = time.monotonic() + self.total_s
        with httpx.Client(timeout=self.timeout_s, headers={"Accept": "application/json"}) as client:
            fetching = Fetching(
                client, self.retries, self.backoff_s, self.longest_wait_s, ends_at, self.max_bytes, reading.pause
            )
            asked: Next | None = self.paging.first() if self.paging else Next({})
            before: Page | None = None
            for done in range(1, self.max_pages + 1):
                if asked is None:
                    return
                page = self._page(fetching, asked, headers, done, reading)
                if page is None:
                    return
                self._check_new(page, before)
                yield page
                reading.progress(f"read {self.label}", done, done)
                asked, before = self._after(asked, page), page
        if asked is not None:
            raise DataError(f"reading {self.label}: there are more than {self.max_pages} pages; raise `max_pages`")

    def _page(
        self, fetching: Fetching, asked: Next, headers: Mapping[str, str], number: int, reading: Reading
    ) -> Page | None:
        """Ask for one page; None: it is no JSON or holds no list, and is refused: nothing says how to go on."""
        url, parameters = self._address(asked)
        try:
            answer = fetching.get(url, parameters, headers)
        except NoJsonError as error:
            reading.refuse(f"{self.label}, page {number}", None, str(error))
            return None
        rows = inside(answer.body, self.records)
        if isinstance(rows, list):
            return Page(answer.body, rows, answer.links)
        where = f"at {self.records} " if self.records else ""
        reason = f"{str(rows)[:80]!r} found {where}in the answer, a list expected; mend `records`"
        reading.refuse(f"{self.label}, page {number}", None, reason)
        return None

    def _address(self, asked: Next) -> tuple[str, Parameters]:
        if not asked.link:
            return self.url, {**self.parameters, **asked.parameters}
        link = urljoin(self.url, asked.link)
        if urlsplit(link)[:2] != urlsplit(self.url)[:2]:
            raise DataError(
                f"reading {self.label}: its next page is {link}, of another server, which gets no secrets of this one; "
                "read that as a source of its own"
            )
        return link, {}

    def _after(self, asked: Next, page: Page) -> Next | None:
        try:
            return self.paging.after(asked, page) if self.paging else None
        except DataError as error:
            raise DataError(f"reading {self.label}: {error}") from error

    def _check_new(self, page: Page, before: Page | None) -> None:
        """See that an API goes on, rather than answer with its first page for ever."""
        is_same: Any = before is not None and page.rows and page.rows == before.rows
        if is_same and self.paging is not None and self.paging.can_repeat:
            raise DataError(
                f"reading {self.label}: two pages hold the same rows: the API does not know the parameters of "
                f"`paging: {self.paging.kind}`; look its names up"
            )
