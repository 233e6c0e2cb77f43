"""What names stand for: fetched once, verified, kept for a start without the hub, and taken back if it fails."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.fixtures import tiny

from shoal_agent.blobs import BlobStore
from shoal_agent.errors import AgentError, ArtifactError, HubError, HubUnreachableError
from shoal_agent.standalone.catalogue import Catalogue
from shoal_agent.standalone.refs import ModelRef
from shoal_contract.artifact_ref import ArtifactRef
from shoal_contract.ids import sha256_hex

ONNX = tiny.path_of(tiny.onnx_variant()).read_bytes()


@dataclass
class Registry:
    """A registry in memory, with the interface of the hub's."""

    version: int = 1
    file: bytes = ONNX
    error: AgentError | None = None
    asked: list[str] = field(default_factory=list)

    def manifest(self, ref: ModelRef, known_sha256: str = "") -> bytes | None:
        if self.error is not None:
            raise self.error
        data = tiny.tiny_manifest(self.version, ref.name).to_bytes()
        return None if sha256_hex(data) == known_sha256 else data

    def artifact(self, wanted: ArtifactRef) -> Iterator[bytes]:
        self.asked.append(wanted.sha256)
        yield self.file


@pytest.fixture
def registry() -> Registry:
    return Registry()


@pytest.fixture
def catalogue(registry: Registry, tmp_path: Path) -> Catalogue:
    return reopened(registry, tmp_path)


def reopened(registry: Registry, folder: Path) -> Catalogue:
    refs, targets = [ModelRef("tiny", "latest")], ["generic-onnx-float32"]
    return Catalogue(refs, registry, BlobStore(folder / "blobs"), targets, ["onnxruntime"], folder / "note.json")


def test_a_version_is_fetched_once_and_followed(catalogue: Catalogue, registry: Registry) -> None:
    catalogue.begin()
    assert catalogue.wanted["tiny"].version == 1
    assert not catalogue.look()
    registry.version = 2
    assert catalogue.look()
    assert (catalogue.wanted["tiny"].version, len(registry.asked)) == (2, 1)


def test_a_file_with_another_hash_is_no_artifact(catalogue: Catalogue, registry: Registry) -> None:
    registry.file = ONNX[:-1] + b"x"
    with pytest.raises(ArtifactError, match="its hash is"):
        catalogue.begin()
    assert list(catalogue.blobs.sizes()) == [sha256_hex(tiny.tiny_manifest().to_bytes())]


def test_what_fails_is_told_once_and_what_serves_stays(
    catalogue: Catalogue, registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    catalogue.begin()
    registry.error = HubError("the hub answered 409", "see its log")
    assert [catalogue.look() for _ in range(3)] == [False] * 3
    assert caplog.text.count("the hub answered 409") == 1
    assert catalogue.wanted["tiny"].version == 1


def test_a_version_that_does_not_serve_gives_way_to_the_one_that_has_and_is_not_tried_again(
    catalogue: Catalogue, registry: Registry
) -> None:
    catalogue.begin()
    with pytest.raises(ArtifactError, match="none has before"):
        catalogue.reject("tiny")
    catalogue.prove()
    registry.version = 2
    catalogue.look()
    catalogue.reject("tiny")
    assert catalogue.wanted["tiny"].version == 1
    assert not catalogue.look()
    registry.version = 3
    assert catalogue.look()
    assert catalogue.wanted["tiny"].version == 3


def test_what_served_last_is_found_without_the_hub(catalogue: Catalogue, registry: Registry, tmp_path: Path) -> None:
    catalogue.begin()
    catalogue.prove()
    registry.error = HubUnreachableError("no hub")
    again = reopened(registry, tmp_path)
    again.begin()
    assert again.wanted == catalogue.wanted
    next(path for path in (tmp_path / "blobs").iterdir() if path.read_bytes() == ONNX).write_bytes(b"damaged")
    with pytest.raises(HubUnreachableError):
        reopened(registry, tmp_path).begin()


def test_files_of_what_serves_no_more_are_dropped(catalogue: Catalogue, registry: Registry) -> None:
    catalogue.begin()
    catalogue.prove()
    registry.version = 2
    catalogue.look()
    assert len(catalogue.blobs.sizes()) == 3
    catalogue.prove()
    assert len(catalogue.blobs.sizes()) == 2


def test_where_what_serves_does_not_load_any_more_its_files_are_looked_at_again(catalogue: Catalogue) -> None:
    catalogue.begin()
    catalogue.prove()
    blob = catalogue.blobs.path(sha256_hex(ONNX))
    blob.chmod(0o600)
    blob.write_bytes(b"damaged")
    catalogue.reject("tiny")
    catalogue.look()
    assert (blob.read_bytes(), catalogue.wanted) == (ONNX, catalogue.proven)
