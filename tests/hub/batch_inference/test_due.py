"""When a schedule's time has come, by what is known."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shoal_hub.batch_inference.due import Facts, due, is_found_first, seen_as_found, seen_now
from shoal_training.batch_inference.schedule import Schedule

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


def facts(**changes: Any) -> Facts:
    plain = Facts(
        since=NOON,
        model="digits",
        production={"digits": 2},
        newest={"digits": 3},
        fingerprint=None,
        ended_well={},
        seen={},
    )
    return plain._replace(**changes)


def test_a_cron_expression_is_due_once_for_all_that_was_missed() -> None:
    schedule = Schedule(cron="30 * * * *")
    assert due(schedule, facts(), NOON + HOUR / 4) == ""
    assert due(schedule, facts(), NOON + HOUR / 2) == "by its schedule, 30 * * * *"
    assert due(schedule, facts(), NOON + 50 * HOUR)
    assert due(schedule, facts(since=NOON + 50 * HOUR), NOON + 50 * HOUR) == ""


@pytest.mark.parametrize(
    ("event", "told"), [("production", "digits version 2 is in production"), ("new_version", "digits version 3 was")]
)
def test_an_event_is_due_until_a_run_has_seen_it(event: str, told: str) -> None:
    schedule = Schedule.model_validate({"events": [{"kind": event}]})
    assert due(schedule, facts(), NOON).startswith(told)
    seen = seen_now(schedule, facts())
    assert due(schedule, facts(seen=seen), NOON) == ""
    later = facts(seen=seen, production={"digits": 5}, newest={"digits": 5})
    assert due(schedule, later, NOON).startswith("digits version 5")
    assert due(schedule, facts(production={"digits": None}, newest={"digits": None}), NOON) == ""


def test_new_data_is_due_when_the_fingerprint_is_another_and_not_while_it_is_unknown() -> None:
    schedule = Schedule.model_validate({"events": [{"kind": "new_data"}]})
    assert due(schedule, facts(), NOON) == ""
    known = facts(fingerprint="a")
    assert due(schedule, known, NOON) == "the source has changed"
    seen = seen_now(schedule, known)
    assert due(schedule, known._replace(seen=seen), NOON) == ""
    assert due(schedule, known._replace(seen=seen, fingerprint="b"), NOON) == "the source has changed"


def test_a_run_that_begins_while_the_source_is_not_known_leaves_what_was_seen_of_it() -> None:
    schedule = Schedule.model_validate({"cron": "0 * * * *", "events": [{"kind": "new_data"}]})
    assert seen_now(schedule, facts(seen={"new_data": "a"})) == {"new_data": "a"}


def test_what_there_is_when_a_schedule_is_switched_on_counts_as_seen() -> None:
    schedule = Schedule.model_validate({"events": [{"kind": "new_data"}, {"kind": "production"}]})
    on = facts(seen=seen_as_found(schedule, facts()))
    assert due(schedule, on, NOON) == ""
    found = on._replace(fingerprint="a")
    assert (due(schedule, found, NOON), is_found_first(found)) == ("", True)
    seen = seen_now(schedule, found)
    assert not is_found_first(found._replace(seen=seen))
    assert due(schedule, found._replace(seen=seen), NOON) == ""
    assert due(schedule, found._replace(seen=seen, fingerprint="b"), NOON) == "the source has changed"


def test_a_dependency_is_due_when_all_have_ended_well_since_the_last_run() -> None:
    schedule = Schedule(after=("one", "two"))
    ended = {"one": NOON + HOUR, "two": NOON + 2 * HOUR}
    assert due(schedule, facts(ended_well=ended), NOON + 3 * HOUR) == "after one, two"
    assert due(schedule, facts(ended_well={**ended, "two": None}), NOON) == ""
    assert due(schedule, facts(ended_well={**ended, "one": NOON - HOUR}), NOON) == ""
    assert due(schedule, facts(ended_well=ended, since=NOON + 3 * HOUR), NOON + 3 * HOUR) == ""
