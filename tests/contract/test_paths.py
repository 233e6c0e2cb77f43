"""No name from outside becomes a path that leaves its folder: whatever it is, it is refused or stays inside."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from shoal_contract import topics
from shoal_contract.errors import TopicError
from shoal_contract.ids import DeviceId, Name, Sha256

HOSTILE = [
    "", ".", "..", "/", "/etc/passwd", "../../etc/passwd", "a/../../b", "a/b", "..\\..\\windows", "a\\b", "C:\\x",
    "~root", "a\x00b", "%2e%2e%2fetc", "..%2f", "%00", "a\n", "a\nb", " a", "a ", ".hidden", "-rf", "a//b",
    "\u2024\u2024/x", "\uff0e\uff0e\uff0f", "..\u2215etc", "\u202egnp", "con\u0301", "a\u200b", "x" * 64, "\N{FISH}",
    "A", "*", "$(id)", "a;b",
]  # fmt: skip
FOLDER = Path("/srv/shoal/models")
names = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=80), st.text(alphabet="./\\%~a\x00:2ef", max_size=12))


def stays_inside(name: str) -> bool:
    """Whether a name is one part of a path below its folder, also after a file system has had its way with it."""
    place = FOLDER / name
    return place.parent == FOLDER and place.name == name and "\x00" not in name and Path(name).parts == (name,)


@pytest.mark.parametrize("kind", [Name, Sha256, DeviceId])
@given(text=names)
def test_what_the_contract_takes_as_a_name_stays_in_its_folder(kind: type[str], text: str) -> None:
    try:
        taken = TypeAdapter(kind).validate_python(text)
    except ValidationError:
        return
    assert taken == text
    assert stays_inside(taken)
    assert taken.isascii()


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_name_is_none(text: str) -> None:
    for kind in (Name, Sha256, DeviceId):
        with pytest.raises(ValidationError):
            TypeAdapter(kind).validate_python(text)


@given(device=names, sha256=names, index=names)
def test_a_topic_gives_no_part_that_leaves_a_folder(device: str, sha256: str, index: str) -> None:
    try:
        source = topics.parse_up(f"shoal/1/device/{device}/up/blob/{sha256}/{index}")
    except TopicError:
        return
    assert stays_inside(source.device_id)
    assert stays_inside(source.sha256 or "x")
    assert isinstance(source.chunk, int)
    assert source.chunk >= 0
