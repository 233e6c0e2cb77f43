"""Ids: readable, and long enough for how many there are of a kind."""

import re

from shoal_hub.ids import new_id, new_ids


def test_an_id_of_what_comes_one_at_a_time_is_short() -> None:
    assert re.fullmatch("r-[a-z2-7]{8}", new_id("r"))


def test_ids_of_what_comes_by_the_hundred_thousand_do_not_clash() -> None:
    ids = new_ids("dp", 1_000_000)  # of 40 bits, two of a million are the same in a third of all cases
    assert len(ids) == len(set(ids)) == 1_000_000
    assert all(re.fullmatch("dp-[a-z2-7]{16}", one) for one in ids[:1000])
    assert new_ids("dp", 2, lambda count: bytes(range(count))) == ["dp-aaaqeayeaudaocaj", "dp-bifqydiob4ibceqt"]
