"""The bound on what is kept of one purpose holds between two counts of it."""

from shoal_hub.database import Database
from shoal_hub.transfer.room import Room


def test_what_is_kept_is_counted_now_and_then_and_added_to_in_between(database: Database) -> None:
    now_s, kept_bytes, counts = 100.0, 40, 0

    def count(_session: object) -> int:
        nonlocal counts
        counts += 1
        return kept_bytes

    room = Room(100, "SHOAL_SOME_MAX_BYTES", count, lambda: now_s)
    with database.session() as session:
        assert room.refusal(session, 60) == ""
        room.add(60)
        assert room.refusal(session, 1) == "the hub keeps 100 bytes of them, at most 100 (SHOAL_SOME_MAX_BYTES)"
        assert counts == 1
        now_s, kept_bytes = 111.0, 70
        assert (room.refusal(session, 30), counts) == ("", 2)
