"""Files of runs: their paths, folders, and bytes that several things name."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_hub.context import HubContext
from shoal_hub.database import utc_now
from shoal_hub.errors import ConflictError, InvalidInputError, NotFoundError, RefusedError, TooLargeError
from shoal_hub.registry.artifacts import StoredArtifact, store_artifact
from shoal_hub.registry.incoming import receiving
from shoal_hub.tracking.files import check_path, check_room, delete_files, find_file, keep_file, list_folder
from shoal_hub.tracking.tables import UploadedPart
from shoal_hub.tracking.uploads import begin_upload, check_part, end_upload, join_parts, keep_part


def _receive(hub: HubContext, content: bytes) -> StoredArtifact:
    with receiving(hub.artifacts, hub.settings.data / "uploads") as incoming:
        for start in range(0, len(content), 7):
            incoming.write(content[start : start + 7])
        return incoming.finish(hub.artifacts)


def _keep(hub: HubContext, path: str, content: bytes) -> StoredArtifact:
    stored = _receive(hub, content)
    with hub.database.transaction() as session:
        keep_file(session, hub.artifacts, path, stored, by="ada", now=utc_now())
    return stored


def _delete(hub: HubContext, path: str) -> int:
    with hub.database.transaction() as session:
        return delete_files(session, hub.artifacts, path)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/etc/passwd",
        "a/../b",
        "..",
        "a//b",
        "a/./b",
        "a/",
        "a\\b",
        "a/\x00",
        "c:/x",
        "a\nb",
        "x" * 1025,
        "..\\..\\x",
    ],
)
def test_a_path_that_leads_elsewhere_is_none(path: str) -> None:
    with pytest.raises(InvalidInputError, match="no path of an artifact"):
        check_path(path)


@given(st.text(max_size=40))
def test_no_path_that_is_taken_leads_out_of_a_folder(path: str) -> None:
    try:
        taken = check_path(path)
    except InvalidInputError:
        return
    assert Path("/root", taken).resolve().is_relative_to("/root")
    assert Path("/root", taken).resolve() != Path("/root")


def test_a_folder_shows_what_is_in_it_and_nothing_of_one_whose_name_begins_alike(hub: HubContext) -> None:
    for path in ("0/r/a.txt", "0/r/sub/b.txt", "0/r/sub/deep/c.txt", "0/rest/d.txt", "0/r_/e.txt"):
        _keep(hub, path, path.encode())
    with hub.database.session() as session:
        assert list_folder(session, "0/r") == [("a.txt", False, 9), ("sub", True, 0)]
        assert [one.name for one in list_folder(session, "0")] == ["r", "r_", "rest"]
        assert list_folder(session, "0/r/a.txt") == []
        assert list_folder(session, "0/%") == []


def test_what_arrives_in_parts_is_stored_whole_and_leaves_nothing_else(sqlite_hub: HubContext) -> None:
    stored = _keep(sqlite_hub, "0/r/a", b"some bytes that come in several blocks")
    assert sqlite_hub.artifacts.read(stored.sha256) == b"some bytes that come in several blocks"
    with receiving(sqlite_hub.artifacts, sqlite_hub.settings.data) as incoming:
        incoming.write(b"never finished")
    root = sqlite_hub.artifacts.local_root()
    assert root is not None
    assert list(root.glob("incoming-*")) == []


def test_bytes_stay_while_something_names_them_and_go_with_the_last(hub: HubContext) -> None:
    stored = _keep(hub, "0/r/a", b"same")
    _keep(hub, "0/r/b", b"same")
    assert _delete(hub, "0/r/a") == 1
    assert hub.artifacts.has(stored.sha256)
    with hub.database.transaction() as session:
        store_artifact(session, hub.artifacts, b"same")
    _delete(hub, "0/r")
    assert hub.artifacts.has(stored.sha256), "the registry has them"
    other = _keep(hub, "0/r/c", b"other")
    _keep(hub, "0/r/c", b"newer")
    assert not hub.artifacts.has(other.sha256), "what a path named before goes"
    with hub.database.session() as session, pytest.raises(NotFoundError, match="no artifact"):
        find_file(session, "0/r/a")


def test_a_file_is_no_folder_and_a_folder_no_file(sqlite_hub: HubContext) -> None:
    _keep(sqlite_hub, "0/r/a", b"1")
    for path in ("0/r/a/b", "0/r"):
        with pytest.raises(ConflictError, match="is there already"):
            _keep(sqlite_hub, path, b"2")


def test_more_than_the_settings_allow_is_refused_in_numbers(sqlite_hub: HubContext) -> None:
    settings = sqlite_hub.settings.model_copy(update={"tracking_max_bytes": 10, "tracking_max_file_bytes": 8})
    _keep(sqlite_hub, "0/r/a", b"12345")
    with sqlite_hub.database.session() as session:
        check_room(session, settings, 5)
        with pytest.raises(TooLargeError, match="5 of 10 bytes are taken"):
            check_room(session, settings, 6)
        with pytest.raises(TooLargeError, match="of 9 bytes: 8 are taken of one"):
            check_room(session, settings, 9)


def test_parts_are_joined_in_order_and_an_upload_that_ended_leaves_none(hub: HubContext) -> None:
    with hub.database.transaction() as session:
        begun = begin_upload(session, hub.artifacts, "0/r/big", 3, by="ada", now=utc_now())
    stored = {number: _receive(hub, f"part {number} ".encode()) for number in (3, 1, 2)}
    for number, part in stored.items():
        with hub.database.transaction() as session:
            row = check_part(session, begun.id, number, begun.secret)
            keep_part(session, hub.artifacts, row, number, part)
    tags = [f'"{stored[number].sha256}"' for number in (1, 2, 3)]
    with pytest.raises(InvalidInputError, match="3 of 3 parts are here, 2 were named"):
        join_parts(hub.database, hub.artifacts, begun.id, tags[:2], hub.settings.data)
    path, joined = join_parts(hub.database, hub.artifacts, begun.id, tags, hub.settings.data)
    assert (path, hub.artifacts.read(joined.sha256)) == ("0/r/big", b"part 1 part 2 part 3 ")
    with hub.database.transaction() as session:
        end_upload(session, hub.artifacts, begun.id)
    with hub.database.session() as session:
        assert session.get(UploadedPart, (begun.id, 1)) is None
    assert not hub.artifacts.has(stored[1].sha256)


def test_a_part_needs_the_upload_s_own_secret_and_a_place_in_it(sqlite_hub: HubContext) -> None:
    with sqlite_hub.database.transaction() as session:
        begun = begin_upload(session, sqlite_hub.artifacts, "0/r/big", 2, by="ada", now=utc_now())
        other = begin_upload(session, sqlite_hub.artifacts, "0/r/other", 2, by="ada", now=utc_now())
        for secret in ("", other.secret):
            with pytest.raises(RefusedError, match="not open to this sender"):
                check_part(session, begun.id, 1, secret)
        for number in (0, 3):
            with pytest.raises(NotFoundError, match="has parts 1 to 2"):
                check_part(session, begun.id, number, begun.secret)
