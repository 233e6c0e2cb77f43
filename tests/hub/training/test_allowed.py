"""What a pipeline that was sent may reach at the hub: each way out of it is tried."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from tests.hub.training.conftest import PIPELINE, Site, rows

from shoal_hub.api import create_app
from shoal_hub.context import HubContext
from shoal_hub.operators.tokens import create_operator_token

SOURCE = "{path: data/rows.parquet}"


def opened(hub: HubContext, **settings: Any) -> Site:
    with hub.database.transaction() as session:
        token = create_operator_token(session, "ada")
    changed = replace(hub, settings=hub.settings.model_copy(update=settings))
    return Site(changed, TestClient(create_app(changed), headers={"authorization": f"Bearer {token}"}))


@pytest.mark.parametrize(
    ("source", "named"),
    [
        ("{path: 's3://lake/rows.parquet'}", "s3://lake/rows.parquet"),
        ("{path: 'file:///etc/passwd', format: csv}", "file:///etc/passwd"),
        ("{path: 's3://open/x::file:///etc/passwd', format: csv}", "is not among"),
        ("{path: 's3://open/../other/x.csv'}", "is not among"),
        ("{path: 's3://open.other/x.csv'}", "is not among"),
        ("{kind: http, url: 'http://169.254.169.254/latest'}", "169.254.169.254"),
        ("{kind: http, url: 'https://api.example.evil/x'}", "api.example.evil"),
        ("{kind: sql, url: 'postgresql://db.example/plant?host=evil', table: x}", "host=evil"),
        ("{kind: sql, url: 'sqlite:///data/a.csv::/../../hub.sqlite', table: user}", "is not among"),
        ("{path: '../hub.sqlite', format: csv}", "is not among"),
        ("{kind: mqtt, host: broker, port: 1883, topic: x, window: {seconds: 1}}", "mqtt"),
        ("{kind: http, url: 'https://api.example/x', secret_headers: {a: SHOAL_DATABASE_URL}}", "SHOAL_DATABASE_URL"),
    ],
)
def test_what_the_settings_do_not_name_is_refused_when_it_is_sent(
    sqlite_hub: HubContext, source: str, named: str
) -> None:
    allowed = "s3://open/,https://api.example,postgresql://db.example/plant"
    answer = opened(sqlite_hub, training_sources=allowed).send(PIPELINE.replace(SOURCE, source))
    assert (answer.status_code, named in answer.text) == (403, True), answer.text


def test_what_the_settings_name_is_taken(sqlite_hub: HubContext) -> None:
    allowed = "s3://open/,https://api.example,postgresql://db.example/plant"
    site = opened(sqlite_hub, training_sources=allowed, training_secrets="API_TOKEN")
    for source in (
        "{path: 's3://open/year=*/x.csv'}",
        "{kind: http, url: 'https://api.example/x?a=1', secret_headers: {a: API_TOKEN}}",
        "{kind: sql, url: 'postgresql://db.example/plant', table: x}",
    ):
        assert site.send(PIPELINE.replace(SOURCE, source)).status_code == 201


@pytest.mark.parametrize(
    ("old", "new", "status"),
    [
        ("limits:", "metrics: [own.py:score]\n  limits:", 403),
        ("target: y", "target: y\n  tuning: {space: {parameters.C: [1, 2]}, storage: '$SHOAL_DATABASE_URL'}", 422),
        ("target: y", "targett: y", 422),
        ("limits:", "champion: {bundle: old}\n  limits:", 422),
    ],
)
def test_code_other_launchers_storages_and_what_is_no_pipeline_are_refused(
    site: Site, old: str, new: str, status: int
) -> None:
    answer = site.send(PIPELINE.replace(old, new))
    assert answer.status_code == status, answer.text


def test_a_launcher_that_the_settings_do_not_name_is_refused(sqlite_hub: HubContext) -> None:
    site = opened(sqlite_hub, training_compute="torchrun")
    answer = site.send()
    assert (answer.status_code, "SHOAL_TRAINING_COMPUTE" in answer.text) == (403, True)


@pytest.mark.parametrize(
    ("compute", "named"),
    [
        ("{launcher: ray, address: 'evil.example:6379'}", "ray://evil.example:6379"),
        ("{launcher: ray, address: auto}", "ray://auto"),
    ],
)
def test_a_cluster_is_reached_only_where_the_settings_name_it(sqlite_hub: HubContext, compute: str, named: str) -> None:
    site = opened(sqlite_hub, training_compute="ray,kubernetes,local")
    answer = site.send(PIPELINE.replace("target: y", f"target: y\n  compute: {compute}"))
    assert (answer.status_code, named in answer.text) == (403, True), answer.text


def test_a_file_of_sqlite_is_the_one_that_was_sent(sqlite_hub: HubContext) -> None:
    site = opened(sqlite_hub)
    away = "x%2f..%2f..%2f..%2f..%2fhub.sqlite"
    pipeline = PIPELINE.replace(SOURCE, "{kind: sql, url: 'sqlite:///NAME', table: user}")
    assert site.send(pipeline.replace("NAME", away), files={"x/a": b"none"}).status_code == 403
    job = site.work(site.begin(pipeline.replace("NAME", "x%252fa.db"), files={"x%2fa.db": b"none"})["job"])
    assert "not a database" in job.error


def test_too_much_and_paths_that_lead_away_are_not_taken(sqlite_hub: HubContext) -> None:
    site = opened(sqlite_hub, training_sent_bytes=1000)
    assert site.send(files={"data/rows.parquet": bytes(1001)}).status_code == 413
    for name in ("../x.csv", "/etc/x.csv", "a/../../x.csv", "pipeline.yaml"):
        assert site.send(files={name: b"1"}).status_code == 422, name


def test_the_hubs_own_files_are_read_by_no_path_and_by_no_link(sqlite_hub: HubContext, tmp_path: Path) -> None:
    lake, elsewhere = tmp_path / "lake", tmp_path / "elsewhere"
    for folder in (lake, elsewhere):
        folder.mkdir()
        (folder / "rows.parquet").write_bytes(rows())
    (lake / "link.parquet").symlink_to(elsewhere / "rows.parquet")
    (lake / "linked").symlink_to(elsewhere)
    site = opened(sqlite_hub, training_sources=str(lake))

    def ended(path: str) -> str:
        return site.work(site.begin(PIPELINE.replace("data/rows.parquet", path), files={})["job"]).error

    assert ended(f"{lake}/rows.parquet") == ""
    for path in (
        f"{elsewhere}/rows.parquet",
        f"{lake}/*.parquet",
        f"{lake}/linked/rows.parquet",
    ):
        assert "is not among what it may reach" in ended(path), path
    for path in (f"{lake}/../elsewhere/rows.parquet", "../" * 12 + f"{elsewhere}/rows.parquet".removeprefix("/")):
        assert site.send(PIPELINE.replace("data/rows.parquet", path), files={}).status_code == 403, path


def test_more_of_the_hubs_files_than_allowed_are_not_read(sqlite_hub: HubContext) -> None:
    site = opened(sqlite_hub, training_source_bytes=100)
    assert "at most 100 are allowed" in site.work(site.begin()["job"]).error
