"""A journal of a disk's roles tells what was really made of them, wherever the process was killed."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.agent.simulators.device import Device, version

from shoal_agent.simulated.journal import Activation, Change, JournalledSlots, made, read_changes
from shoal_agent.slots import Slot, SlotFile, Slots, slot_for

MODEL = "tiny"
Step = Callable[[Slots], Slots]


@pytest.fixture(scope="module")
def candidates(tmp_path_factory: pytest.TempPathFactory) -> list[Slot]:
    device = Device(tmp_path_factory.mktemp("device"))
    return [
        slot_for(version(number).variants[0], device.publish(version(number), f"dp-{number}"), (1, number))
        for number in (1, 2)
    ]


def open_journalled(folder: Path) -> JournalledSlots:
    return JournalledSlots(folder / "models", MODEL, folder / "roles.jsonl")


def activations(folder: Path) -> list[Activation]:
    now = {MODEL: SlotFile(folder / "models", MODEL).slots}
    changes = made(read_changes(folder / "roles.jsonl"), now)
    return [one.activation for one in changes if one.activation is not None]


def update(candidate: Slot) -> list[Step]:
    return [lambda slots: slots.staged(candidate), Slots.activated, Slots.committed]


def test_the_same_deployment_activated_twice_over_itself_is_seen(candidates: list[Slot], tmp_path: Path) -> None:
    file = open_journalled(tmp_path)
    for step in update(candidates[0]) * 2:
        file.put(step(file.slots))
    assert activations(tmp_path) == [Activation(MODEL, 1, "dp-1")] * 2


def test_starts_proofs_and_other_deployments_of_the_same_version_activate_nothing(
    candidates: list[Slot], tmp_path: Path
) -> None:
    file = open_journalled(tmp_path)
    wanted = Device(tmp_path / "device").publish(version(1), "dp-9")
    later: list[Step] = [Slots.booted, lambda slots: slots.asked(wanted, (1, 8)), Slots.committed]
    last: list[Step] = [lambda slots: slots.proved("dp-10", (1, 9)), lambda slots: slots.staged(candidates[1])]
    for step in [*update(candidates[0])[:2], *later, *last]:
        file.put(step(file.slots))
    assert activations(tmp_path) == [Activation(MODEL, 1, "dp-1")]


@given(data=st.data())
def test_a_kill_before_any_change_leaves_exactly_what_was_made(
    data: st.DataObject, candidates: list[Slot], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder, truth = tmp_path_factory.mktemp("disk"), list[Activation]()
    file = open_journalled(folder)
    plan = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 3), st.booleans()), max_size=12)
    for which, step, is_killed in data.draw(plan):
        steps: list[Step] = [*update(candidates[which]), lambda _: Slots()]
        if step in {1, 2} and (file.slots.candidate if step == 1 else file.slots.active) is None:
            continue
        after = steps[step](file.slots)
        if after == file.slots:
            continue
        change = Change(model=MODEL, before=file.slots, after=after)
        if is_killed:
            file.change_to(after)  # and nothing more
            file = open_journalled(folder)
        else:
            file.put(after)
            truth += [change.activation] if change.activation is not None else []
    assert activations(folder) == truth


def test_a_line_that_a_kill_has_cut_off_is_none(candidates: list[Slot], tmp_path: Path) -> None:
    file = open_journalled(tmp_path)
    file.put(Slots().staged(candidates[0]))
    journal = tmp_path / "roles.jsonl"
    journal.write_bytes(journal.read_bytes() + b'{"model": "ti')
    assert len(read_changes(journal)) == 1
    again = open_journalled(tmp_path)
    again.put(again.slots.activated())
    assert activations(tmp_path) == [Activation(MODEL, 1, "dp-1")], "the next life writes a line of its own"


def test_a_journal_that_a_kill_has_left_without_a_whole_line_begins_anew(
    candidates: list[Slot], tmp_path: Path
) -> None:
    (tmp_path / "roles.jsonl").write_bytes(b'{"model": "ti')
    open_journalled(tmp_path).put(Slots().staged(candidates[0]))
    assert len(read_changes(tmp_path / "roles.jsonl")) == 1


def test_taking_a_model_off_is_written_down(candidates: list[Slot], tmp_path: Path) -> None:
    file = open_journalled(tmp_path)
    for step in update(candidates[0]):
        file.put(step(file.slots))
    file.forget()
    assert [one.after.is_empty() for one in read_changes(tmp_path / "roles.jsonl")] == [False, False, False, True]
    assert activations(tmp_path) == [Activation(MODEL, 1, "dp-1")]
