"""The artifact store, as a folder and as a store elsewhere."""

import threading
from pathlib import Path

import pytest

from shoal_contract.ids import sha256_hex
from shoal_hub.errors import ArtifactError
from shoal_hub.registry.artifacts import ArtifactStore

DATA = bytes(range(256)) * 5000


@pytest.fixture(params=["folder", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(str(tmp_path / "artifacts") if request.param == "folder" else f"memory://{tmp_path.name}")


def path_of(store: ArtifactStore, sha256: str) -> str:
    return store._path(sha256)


def test_what_is_put_is_read_back_under_its_hash(store: ArtifactStore, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(DATA)
    stored = store.put(file)
    assert stored == (sha256_hex(DATA), len(DATA))
    assert store.put(DATA) == stored
    assert store.read(stored.sha256) == DATA
    with store.open(stored.sha256) as opened:
        opened.seek(10)
        assert opened.read(5) == DATA[10:15]


@pytest.mark.parametrize("damage", [DATA[:-1], DATA + b"x", b"", DATA[:100] + b"\xff" + DATA[101:]])
def test_a_damaged_artifact_is_never_handed_out(store: ArtifactStore, damage: bytes) -> None:
    stored = store.put(DATA)
    store._filesystem.pipe_file(path_of(store, stored.sha256), damage)
    with pytest.raises(ArtifactError, match="restore the file"):
        store.read(stored.sha256)


def test_a_missing_artifact_names_itself_and_the_remedy(store: ArtifactStore) -> None:
    assert not store.has("0" * 64)
    with pytest.raises(ArtifactError, match=r"0{64} is not in the store"):
        store.read("0" * 64)


def test_writers_of_the_same_bytes_at_once_leave_one_whole_file(tmp_path: Path) -> None:
    store = ArtifactStore(str(tmp_path))
    threads = [threading.Thread(target=store.put, args=(DATA,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [sha256_hex(DATA)]


def test_a_write_that_fails_leaves_no_artifact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ArtifactStore(str(tmp_path))

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        store.put(DATA)
    assert not store.has(sha256_hex(DATA))


def test_only_a_folder_has_paths_on_this_machine(tmp_path: Path) -> None:
    assert ArtifactStore("memory://x").local_path("0" * 64) is None
    assert ArtifactStore(str(tmp_path)).local_path("0" * 64) == tmp_path / "00" / ("0" * 64)
