"""The chain, pure: what verifying finds of each way to change a trail, and what it cannot know."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from shoal_contract import envelope
from shoal_hub.audit.chain import ANCHOR_TYPE, MAX_FINDINGS, Anchor, Report, examine, key_id, verify
from shoal_hub.audit.entry import START, Entry, canonical_json, from_export, hash_entry, to_export

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
KEY = Ed25519PrivateKey.generate()
KEYS = {key_id(1): KEY.public_key()}


def chain(contents: Sequence[str], at: datetime = NOON) -> list[Entry]:
    """Make a trail whose entries differ in what they say."""
    entries: list[Entry] = []
    for number, content in enumerate(contents, 1):
        entry = Entry(
            sequence=number,
            at=at + timedelta(seconds=number),
            actor_id="op-ada",
            actor_name="ada",
            actor_role="admin",
            actor_address="192.0.2.7",
            action="devices.update_device",
            subject="devices/d-1",
            before="{}",
            after=canonical_json({"devices/d-1": {"name": content}}),
            previous_sha256=entries[-1].sha256 if entries else START,
        )
        entries.append(replace(entry, sha256=hash_entry(entry)))
    return entries


def anchor(entries: Sequence[Entry], minutes: int = 0) -> Anchor:
    head = entries[-1].sha256 if entries else START
    return Anchor(count=len(entries), head_sha256=head, at=NOON + timedelta(minutes=minutes))


def sign(one: Anchor, key: Ed25519PrivateKey = KEY) -> bytes:
    return envelope.sign(one.to_bytes(), ANCHOR_TYPE, key, key_id(1))


def found(report: Report) -> list[tuple[str, int, int]]:
    return [(one.kind, one.first, one.last) for one in report.findings]


TRAIL = chain([str(number) for number in range(1, 13)])
ANCHORS = [anchor(TRAIL[:count], count) for count in (0, 4, 8, 10)]


def test_a_trail_as_it_was_written_holds_and_says_what_no_anchor_covers_yet() -> None:
    report = verify(TRAIL, ANCHORS)
    assert report.holds
    assert (report.entries, report.covered, report.anchors) == (12, 10, 4)
    assert report.last_anchor_at == NOON + timedelta(minutes=10)
    assert report.uncovered_since == TRAIL[10].at
    assert verify(TRAIL[:10], ANCHORS).uncovered_since is None


@given(
    st.integers(0, 11), st.sampled_from(["at", "actor_name", "action", "subject", "before", "after", "actor_address"])
)
def test_an_edit_of_any_field_of_any_entry_is_found_at_its_number(index: int, field: str) -> None:
    value = NOON if field == "at" else '{"x":1}'
    edited = [*TRAIL[:index], replace(TRAIL[index], **{field: value}), *TRAIL[index + 1 :]]
    assert found(verify(edited, ANCHORS)) == [("edited", index + 1, index + 1)]


def test_an_edit_with_its_hash_made_anew_breaks_the_link_to_the_next_entry() -> None:
    edited = replace(TRAIL[5], actor_name="eve")
    edited = replace(edited, sha256=hash_entry(edited))
    report = verify([*TRAIL[:5], edited, *TRAIL[6:]], [])
    assert ("broken_link", 6, 7) in found(report)


def test_a_chain_that_was_made_anew_after_an_edit_is_caught_by_the_anchors_and_placed_between_two() -> None:
    other = chain([str(number) if number != 6 else "edited" for number in range(1, 13)])
    assert verify(other, []).findings[0].kind == "no_anchor", "the chain alone cannot know"
    report = verify(other, ANCHORS)
    assert found(report) == [("rewritten", 5, 8)]
    assert "replaced and the chain made anew" in report.findings[0].message


def test_a_row_that_was_taken_out_is_a_gap_with_both_its_ends() -> None:
    report = verify([*TRAIL[:5], *TRAIL[6:]], ANCHORS)
    assert found(report) == [("gap", 6, 6)]
    assert "entry 6 is missing between 5 and 7" in report.findings[0].message
    assert found(verify(TRAIL[3:], ANCHORS)) == [("gap", 1, 3)]


def test_a_row_that_was_taken_out_with_the_rest_renumbered_is_caught_by_the_anchors() -> None:
    renumbered = chain([str(number) for number in range(1, 13) if number != 2])
    assert found(verify(renumbered, ANCHORS)) == [("rewritten", 1, 4)]


def test_a_cut_tail_is_told_with_what_the_anchor_says_and_what_is_there() -> None:
    report = verify(TRAIL[:8], ANCHORS)
    assert found(report) == [("cut", 9, 10)]
    assert "says 10 entries, the trail ends with 8" in report.findings[0].message
    assert found(verify([], ANCHORS)) == [("cut", 1, 10)]


def test_a_tail_that_no_anchor_covers_can_be_cut_unseen_which_is_why_the_age_is_told() -> None:
    report = verify(TRAIL[:10], ANCHORS)
    assert report.holds
    assert report.last_anchor_at == ANCHORS[-1].at


def test_entries_out_of_order_are_told() -> None:
    assert ("order", 1, 1) in found(verify([TRAIL[0], TRAIL[1], TRAIL[0]], []))


def test_an_anchor_by_another_key_is_no_anchor() -> None:
    forged = sign(anchor(TRAIL[:11]), Ed25519PrivateKey.generate())
    lines = [*(sign(one) for one in ANCHORS), forged, b"{}", b"not json"]
    report = examine(TRAIL, lines, KEYS, None)
    assert [one.kind for one in report.findings] == ["forged_anchor"] * 3
    assert "line 5" in report.findings[0].message
    assert report.covered == 10


def test_a_rewritten_trail_with_forged_anchors_is_still_found_by_those_that_were_kept() -> None:
    other = chain(["edited", *(str(number) for number in range(2, 13))])
    lines = [sign(ANCHORS[0]), sign(anchor(other), Ed25519PrivateKey.generate())]
    report = examine(other, lines, KEYS, sign(ANCHORS[-1]))
    assert {one.kind for one in report.findings} == {"forged_anchor", "anchors_cut", "rewritten"}


def test_a_cut_file_of_anchors_is_found_by_the_anchor_that_the_broker_keeps() -> None:
    lines = [sign(one) for one in ANCHORS]
    assert examine(TRAIL, lines, KEYS, lines[-1]).holds
    assert examine(TRAIL, lines, KEYS, lines[0]).holds, "a broker that was away is behind, no more"
    report = examine(TRAIL[:8], lines[:3], KEYS, lines[-1])
    assert found(report) == [("anchors_cut", 8, 10), ("cut", 9, 10)], "both cuts show, though file and table agree"
    assert found(examine([], [], KEYS, lines[-1])) == [("anchors_cut", 0, 10), ("cut", 1, 10)]


def test_a_trail_that_is_broken_everywhere_is_told_so_often_and_no_oftener() -> None:
    entries = [replace(one, actor_name="eve") for one in chain(["x"] * (MAX_FINDINGS + 20))]
    assert len(verify(entries, []).findings) == MAX_FINDINGS


@given(
    st.dictionaries(st.text(), st.one_of(st.text(), st.integers(), st.floats(allow_nan=False, allow_infinity=False)))
)
def test_an_entry_comes_out_of_an_export_with_the_hash_that_it_went_in_with(value: dict[str, object]) -> None:
    entry = replace(TRAIL[0], after=canonical_json({"x": value}))
    entry = replace(entry, sha256=hash_entry(entry))
    again = from_export(canonical_json(to_export(entry)).encode())
    assert again == entry
    assert hash_entry(again) == entry.sha256


@pytest.mark.parametrize("line", [b"{}", b"[]", b"1", b"x", b'{"sequence": 1}'])
def test_a_line_of_something_else_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        from_export(line)
