"""What a pipeline reaches is known of each kind of source, and of whatever else names files."""

import pytest

from shoal_training.ingestion.sources import BY_KIND
from shoal_training.launchers.kubernetes import Kubernetes
from shoal_training.pipeline.places import _of_compute, places_of
from shoal_training.pipeline.reading import parse_pipeline
from shoal_training.places import Place

TEXT = """\
name: cheap
data_ingestion:
  sources: [{source}]
model_training:
  target: y
  trainer: {{framework: torch, network: {network}}}
model_evaluation: {evaluation}
"""
SOURCES = {
    "files": ("{path: a/*.csv}", [("files", "a/*.csv")]),
    "images": ("{kind: images, path: /p, height: 8, width: 8}", [("files", "/p")]),
    "sql": (
        "{kind: sql, url: 'postgresql://u@db/x', password_env: PW, table: t}",
        [("database", "postgresql://u@db/x"), ("secret", "PW")],
    ),
    "http": (
        "{kind: http, url: 'https://api/x', secret_headers: {a: TOKEN}}",
        [("address", "https://api/x"), ("secret", "TOKEN")],
    ),
    "kafka": (
        "{kind: kafka, servers: 'a:1, b:2', topic: t, window: {messages: 1}, settings: {ssl.engine.location: x.so}}",
        [("address", "kafka://a:1"), ("address", "kafka://b:2"), ("option", "kafka ssl.engine.location")],
    ),
    "mqtt": (
        "{kind: mqtt, host: h, topic: t, window: {messages: 1}, ca_file: ca.pem, username: u, password_env: PW}",
        [("address", "mqtt://h:1883"), ("secret", "PW"), ("files", "ca.pem")],
    ),
    "features": (
        (
            "{kind: features, labels: {path: l.csv}, views: [{name: v, source: {path: v.csv}, entity: [e], time: t,"
            " features: [x]}]}"
        ),
        [("files", "l.csv"), ("files", "v.csv")],
    ),
}


def found(source: str, network: str = "mlp", evaluation: str = "{}") -> list[tuple[str, str]]:
    places = places_of(parse_pipeline(TEXT.format(source=source, network=network, evaluation=evaluation)))
    return [(one.kind, one.text) for one in places]


def test_every_kind_of_source_is_known() -> None:
    assert set(SOURCES) == set(BY_KIND)


@pytest.mark.parametrize("kind", sorted(SOURCES))
def test_what_a_source_reaches_is_all_told(kind: str) -> None:
    source, expected = SOURCES[kind]
    assert found(source) == expected


@pytest.mark.parametrize(("url", "path"), [("sqlite:///plant.db", "plant.db"), ("sqlite:////srv/p.db", "/srv/p.db")])
def test_a_database_in_a_file_is_a_file(url: str, path: str) -> None:
    assert found(f"{{kind: sql, url: '{url}', table: t}}") == [("files", path)]


def test_code_lists_and_champions_are_told_too() -> None:
    evaluation = "{metrics: ['m.py:f'], validation_scheme: {scheme: leave_out, column: c, path: out.csv},"
    evaluation += " champion: {bundle: ../old}}"
    assert found("{path: a.csv}", "net.py:build", evaluation) == [
        ("files", "a.csv"),
        ("files", "out.csv"),
        ("bundle", "../old"),
        ("code", "m.py"),
        ("code", "net.py"),
    ]


def test_paths_are_told_from_urls() -> None:
    assert Place("files", "a/b.csv").is_beside
    assert not Place("files", "/a/b.csv").is_beside
    assert Place("files", "/a/b.csv").is_local
    assert not Place("files", "s3://a/b.csv").is_local
    assert not Place("secret", "PW").is_local


def test_a_cluster_of_kubernetes_is_a_place_with_its_image_and_its_folder() -> None:
    pods = Kubernetes(image="registry.example/shoal", volume_claim="lake", volume_folder="/mnt/lake", namespace="ml")
    assert list(_of_compute(pods)) == [
        Place("address", "kubernetes://here/ml/registry.example/shoal"),
        Place("folder", "/mnt/lake"),
    ]
