"""What `shoal rollouts history` draws: what goes well in a line for all, whatever else in a line of its own."""

from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

from rich.console import Console

from shoal_client.rollouts import HistoryEntry
from shoal_hub.cli.history_view import draw_history

START = datetime(2026, 1, 1, 23, 59, 50, tzinfo=UTC)
STEPS = ("fetch", "commit")


def entry(second: int, what: str, by: str = "", **changes: Any) -> HistoryEntry:
    fields = {
        "at": START + timedelta(seconds=second),
        "source": "event",
        "what": what,
        "by": by,
        "severity": "info",
        "message": f"told {what}",
        "before": {},
        "after": {},
    }
    return HistoryEntry.model_validate(fields | changes)


def steps(second: int, device: str) -> list[HistoryEntry]:
    told = [entry(second, "deployment", device, after={"step": step}) for step in STEPS]
    return [*told, entry(second, "deployment_succeeded", device)]


def lines(*entries: HistoryEntry, is_each: bool = False) -> list[str]:
    text = StringIO()
    Console(file=text, width=80).print(draw_history(entries, is_each=is_each))
    return [" ".join(line.split()) for line in text.getvalue().splitlines()]


def test_what_goes_well_on_devices_is_one_line_until_something_else_happens() -> None:
    found = lines(
        entry(0, "rollout_started"),
        *steps(1, "d-one"),
        *steps(2, "d-two"),
        entry(3, "deployment", "d-three", after={"step": "fetch"}),
        entry(4, "deployment_failed", "d-three", severity="error", message="its disk is full"),
        *steps(5, "d-four"),
    )
    assert found == [
        "2026-01-01 (UTC)",
        "TIME BY WHAT",
        "23:59:50 hub told rollout_started",
        "23:59:53 3 devices fetch, 2 commit, 2 succeeded",
        "23:59:54 d-three its disk is full",
        "23:59:55 d-four fetch, commit, succeeded",
    ]


def test_each_step_has_a_line_if_that_is_asked_for() -> None:
    found = lines(*steps(1, "d-one"), *steps(2, "d-two"), is_each=True)
    assert len(found) == 2 + 6
    assert found[2] == "23:59:51 d-one told deployment"


def test_an_audited_action_is_named_with_who_did_it_and_a_new_day_begins_a_new_table() -> None:
    found = lines(
        entry(0, "rollouts.pause_rollout", "ada", source="audit"),
        entry(20, "rollouts.resume_rollout", "d-evil", source="audit"),
    )
    assert found == [
        "2026-01-01 (UTC)",
        "TIME BY WHAT",
        "23:59:50 ada rollouts.pause_rollout",
        "2026-01-02 (UTC)",
        "TIME BY WHAT",
        "00:00:10 d-evil rollouts.resume_rollout",
    ]


def test_text_from_a_device_injects_neither_markup_nor_control_characters() -> None:
    found = lines(entry(0, "deployment_failed", "d-one", severity="error", message="[red]x[/red]\x1b[2J"))
    assert found[2] == "23:59:50 d-one [red]x[/red]\\x1b[2J"
