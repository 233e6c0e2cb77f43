"""The model of a disk that loses power: what was synced stays, and of the rest nothing can be relied on."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.agent.simulators.disk_operations import OUTCOMES, SECTOR_BYTES, Operation, Outcome, Recording, image
from tests.agent.simulators.recorded_disk import RecordedDisk, lay_down, tree_of

from shoal_agent.durable import replace_file

OLD, NEW = b"old content", b"the new content is longer"
BY_NAME = {outcome.name: outcome for outcome in OUTCOMES}
each_outcome = pytest.mark.parametrize("outcome", OUTCOMES, ids=list(BY_NAME))


def recorded(root: Path) -> Recording:
    """Replace a file without any sync, as a careless program does."""
    root.mkdir()
    (root / "file").write_bytes(OLD)
    disk = RecordedDisk(root)
    with disk.mounted():
        (root / "file.new").write_bytes(NEW)
        (root / "file.new").replace(root / "file")
    return disk.recording


@pytest.mark.parametrize(
    ("outcome", "left"),
    [
        ("all kept", {"file": NEW}),
        ("all lost", {"file": OLD}),
        ("names lost", {"file": OLD}),
        ("data lost", {"file": b""}),
        ("only sizes", {"file": bytes(len(NEW))}),
        ("torn write", {"file": NEW[: len(NEW) // 2]}),
        ("reordered", {"file": NEW}),
    ],
)
def test_a_rename_without_a_sync_leaves(outcome: str, left: dict[str, bytes], tmp_path: Path) -> None:
    recording = recorded(tmp_path / "disk")
    found = image(recording, len(recording.operations), BY_NAME[outcome])
    assert {path: content for path, content in found.items() if content is not None} == left


@each_outcome
def test_a_write_that_was_synced_with_its_folder_stays_whatever_the_cut(outcome: Outcome, tmp_path: Path) -> None:
    disk = RecordedDisk(tmp_path)
    with disk.mounted():
        replace_file(tmp_path / "new" / "folder" / "file", NEW)
    assert image(disk.recording, len(disk.recording.operations), outcome)["new/folder/file"] == NEW


def test_sectors_of_a_write_come_or_stay_away_as_wholes() -> None:
    data = bytes(index // SECTOR_BYTES + 1 for index in range(20 * SECTOR_BYTES))
    write = Operation("write", "file", 1, data=data, offset=100)
    left = image(Recording({".": None, "file": b""}, {"file": 1}, [write]), 1, BY_NAME["some sectors"])["file"]
    assert left is not None
    kept = [
        left[at : at + SECTOR_BYTES] == (bytes(100) + data)[at : at + SECTOR_BYTES] for at in range(512, 10240, 512)
    ]
    gone = [not any(left[at : at + SECTOR_BYTES]) for at in range(512, 10240, 512)]
    assert all(one or other for one, other in zip(kept, gone, strict=True))
    assert any(kept)
    assert any(gone)


@given(st.lists(st.tuples(st.integers(0, 3000), st.binary(min_size=1, max_size=1500)), max_size=8), st.integers(0, 8))
def test_what_was_written_before_a_sync_is_in_every_image(writes: list[tuple[int, bytes]], synced: int) -> None:
    operations = [Operation("write", "file", 1, offset=offset, data=data) for offset, data in writes]
    operations.insert(min(synced, len(writes)), Operation("sync", "file", 1))
    recording = Recording({".": None, "file": OLD}, {"file": 1}, operations)
    durable = bytearray(image(recording, operations.index(Operation("sync", "file", 1)), OUTCOMES[0])["file"] or b"")
    later = [range(offset, offset + len(data)) for offset, data in writes[synced:]]
    for outcome in OUTCOMES:
        left = image(recording, len(operations), outcome)["file"]
        assert left is not None
        untouched = (at for at in range(len(durable)) if not any(at in places for places in later))
        assert all(left[at] == durable[at] for at in untouched), outcome.name


def test_a_disk_that_is_laid_down_is_the_one_that_was_taken_up(tmp_path: Path) -> None:
    tree = {".": None, "folder": None, "folder/empty": b"", "folder/file": NEW}
    lay_down(tree, tmp_path / "disk")
    assert tree_of(tmp_path / "disk") == tree
