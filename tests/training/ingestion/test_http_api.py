"""An HTTP API that pages, is busy, breaks, and does not end: a real server on loopback."""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from tests.training.ingestion.api_server import ROWS, Api, running_api

from shoal_training.errors import DataError
from shoal_training.ingestion.fetching import retry_after_s
from shoal_training.ingestion.http_api import HttpSource
from shoal_training.ingestion.source import Reading


@pytest.fixture
def api() -> Iterator[Api]:
    with running_api() as api:
        yield api


def read(url: str, **fields: Any) -> tuple[list[dict[str, Any]], Reading, list[float]]:
    paused: list[float] = []
    reading = Reading(Path(), is_strict=fields.pop("is_strict", True), batch_rows=7, pause=paused.append)
    tables = list(HttpSource(url=url, **fields).tables(reading))
    assert max(map(len, tables), default=0) <= 7
    return pa.concat_tables(tables).to_pylist() if tables else [], reading, paused


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("all", {}),
        ("link", {"paging": "link"}),
        (
            "cursor",
            {"records": "data.items", "paging": {"kind": "cursor", "cursor": "meta.next", "parameter": "after"}},
        ),
        ("page", {"records": "items", "paging": {"kind": "page"}}),
        ("offset", {"paging": {"kind": "offset", "limit": 50}}),  # the API gives 10 at once, whatever is asked for
    ],
)
def test_all_rows_come_however_an_api_pages(api: Api, path: str, fields: dict[str, Any]) -> None:
    assert read(f"{api.url}/{path}", **fields)[0] == ROWS


def test_a_busy_api_is_asked_again_after_the_time_that_it_names(api: Api) -> None:
    api.busy = [(503, {}), (429, {"Retry-After": "7"}), (0, {}), (500, {})]
    rows, _, paused = read(f"{api.url}/all", backoff_s=2)
    assert rows == ROWS
    assert paused[1] == 7
    assert [1 <= paused[0] <= 2, 4 <= paused[2] <= 8, 8 <= paused[3] <= 16] == [True] * 3


def test_an_api_that_stays_busy_or_wants_too_long_a_wait_ends_the_reading(api: Api) -> None:
    api.busy = [(503, {})] * 3
    with pytest.raises(DataError, match="the API answers 503, 3 times; try again later"):
        read(f"{api.url}/all", retries=2)
    api.busy = [(429, {"Retry-After": "3600"})]
    with pytest.raises(DataError, match="answers 429 and wants 3600 s"):
        read(f"{api.url}/all")
    with pytest.raises(DataError, match="Connect"):
        read("http://127.0.0.1:9/all", retries=1)


def test_retry_after_is_seconds_or_a_date() -> None:
    assert retry_after_s("120") == 120
    at = datetime.now(timezone.utc) + timedelta(seconds=90)
    assert 80 < (retry_after_s(format_datetime(at, usegmt=True)) or 0) <= 90
    assert retry_after_s("soon") is None


def test_what_is_not_worth_asking_again_is_told_at_once(api: Api) -> None:
    for status, told in ((401, "secret_headers"), (404, "mend the URL"), (400, "'busy'")):
        api.busy = [(status, {})]
        with pytest.raises(DataError, match=f"answers {status}.*{told}"):
            read(f"{api.url}/all")
    with pytest.raises(DataError, match="leads to /all; name that URL"):
        read(f"{api.url}/moved")
    with pytest.raises(DataError, match="page 1: 'None' found at data.rows in the answer, a list expected"):
        read(f"{api.url}/cursor", records="data.rows")


def test_a_broken_page_is_refused_and_those_before_it_are_kept(api: Api) -> None:
    fields = {"paging": {"kind": "page"}}
    with pytest.raises(DataError, match="page 3: the answer is no JSON"):
        read(f"{api.url}/broken", **fields)
    rows, reading, _ = read(f"{api.url}/broken", is_strict=False, **fields)
    assert rows == ROWS[:20]
    assert reading.refused_count == 1


def test_a_row_that_is_none_is_refused_by_its_number(api: Api) -> None:
    api.rows[40], api.rows[50] = "no row", {"id": "x", "value": 1.0}
    with pytest.raises(DataError, match="row 41: 'no row' found, an object expected"):
        read(f"{api.url}/all")
    rows, reading, _ = read(f"{api.url}/all", is_strict=False)
    assert rows == [row for row in ROWS if row["id"] not in {40, 50}]
    assert [one.row for one in reading.refused] == [41, 51]


def test_time_and_size_are_bounded(api: Api) -> None:
    with pytest.raises(DataError, match="more than 1000000 bytes"):
        read(f"{api.url}/endless", max_bytes=1_000_000)
    with pytest.raises(DataError, match="longer than `total_s`"):
        read(f"{api.url}/dripping", total_s=0.3)
    with pytest.raises(DataError, match="more than 3 pages"):
        read(f"{api.url}/link", paging="link", max_pages=3)


def test_an_api_that_does_not_know_the_page_is_not_asked_for_ever(api: Api) -> None:
    with pytest.raises(DataError, match="two pages hold the same rows.*`paging: page`"):
        read(f"{api.url}/all", paging="page")
    with pytest.raises(DataError, match="cursor stays at '10'.*parameter cursor"):
        read(f"{api.url}/cursor", records="data.items", paging={"kind": "cursor", "cursor": "meta.next"})


def test_secrets_go_to_their_server_alone_and_into_no_lineage(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_TOKEN", "Bearer of-tidings")
    fields: dict[str, Any] = {"secret_headers": {"Authorization": "API_TOKEN"}, "paging": "link"}
    read(f"{api.url}/link", **fields)
    assert {one["Authorization"] for one in api.headers_seen} == {"Bearer of-tidings"}
    with pytest.raises(DataError, match="of another server, which gets no secrets"):
        read(f"{api.url}/elsewhere", **fields)
    assert "tidings" not in json.dumps(HttpSource(url=f"{api.url}/link", **fields).described())
    with pytest.raises(ValueError, match="Authorization holds a secret; name it under `secret_headers`"):
        HttpSource(url=api.url, headers={"Authorization": "Bearer of-tidings"})
    with pytest.raises(ValueError, match="a name or password stands in it"):
        HttpSource(url="http://ada:secret@127.0.0.1/all")
