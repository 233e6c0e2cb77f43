"""The roles of a model: once a version was good there is always one to serve, whatever fails and whenever."""

from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.agent.simulators.power_cut import FragileDisk, PowerCutError

from shoal_agent.errors import DiskError
from shoal_agent.slots import MAX_FAILURES, Slot, SlotFile, Slots, failure_of, known_models, put_aside
from shoal_contract.artifact_ref import ArtifactRef
from shoal_contract.desired import DesiredModel
from shoal_contract.reported import Problem

PROBLEM = Problem(code="golden", message="differs", remedy="compress again")


def slot(version: int, deployment: str | None = None) -> Slot:
    return Slot(
        version=version,
        target="generic-onnx-int8",
        sha256=f"{version:064x}",
        size_bytes=1,
        manifest=ArtifactRef(sha256=f"{version + 1000:064x}", size_bytes=1),
        deployment=deployment or f"dp-{version}",
        order=(1, version),
    )


def good(version: int) -> Slots:
    return Slots().staged(slot(version)).activated().committed()


class Roles(RuleBasedStateMachine):
    """Any order of transitions that the updater can make."""

    def __init__(self) -> None:
        super().__init__()
        self.slots = Slots()
        self.was_good = False

    @rule(version=st.integers(1, 4))
    def stage(self, version: int) -> None:
        self.slots = self.slots.staged(slot(version))

    @precondition(lambda self: self.slots.candidate is not None)
    @rule()
    def activate(self) -> None:
        self.slots = self.slots.activated()
        assert self.slots.active is not None
        assert self.slots.active.state == "unproven"

    @precondition(lambda self: self.slots.active is not None)
    @rule()
    def commit(self) -> None:
        self.slots = self.slots.committed()
        self.was_good = True

    @rule()
    def boot(self) -> None:
        self.slots = self.slots.booted()

    @rule(version=st.integers(1, 4))
    def fail(self, version: int) -> None:
        self.slots = self.slots.failed(failure_of(slot(version), PROBLEM))
        assert self.slots.candidate is None

    @precondition(
        lambda self: self.slots.previous is not None and self.slots.active and self.slots.active.state == "good"
    )
    @rule()
    def fall_back(self) -> None:
        self.slots = self.slots.fell_back()

    @invariant()
    def previous_is_good(self) -> None:
        assert self.slots.previous is None or self.slots.previous.state == "good"

    @invariant()
    def once_good_there_is_always_one_to_serve(self) -> None:
        held = [role for role in (self.slots.active, self.slots.previous) if role is not None and role.state == "good"]
        assert not self.was_good or (self.slots.active is not None and held)

    @invariant()
    def a_candidate_is_unproven(self) -> None:
        assert self.slots.candidate is None or self.slots.candidate.state == "unproven"

    @invariant()
    def it_survives_being_written(self) -> None:
        assert Slots.model_validate_json(self.slots.model_dump_json(exclude_none=True)) == self.slots


TestRoles = Roles.TestCase
TestRoles.settings = settings(max_examples=60, stateful_step_count=25)


def test_activating_a_version_again_does_not_push_its_predecessor_out() -> None:
    slots = good(1).staged(slot(2)).activated().committed()
    again = slots.staged(slot(2, "dp-repair")).activated()
    assert again.previous is not None
    assert again.previous.version == 1


def test_a_failed_activation_brings_the_previous_version_back() -> None:
    slots = good(1).staged(slot(2)).activated().failed(failure_of(slot(2), PROBLEM))
    assert slots.active == good(1).active
    assert slots.failure is not None
    assert slots.failure.deployment == "dp-2"


def test_starts_are_counted_for_the_version_that_was_being_tried() -> None:
    staged = good(1).staged(slot(2)).booted().booted()
    assert (staged.active.boots, staged.candidate.boots) == (0, 2)  # type: ignore[union-attr]
    assert staged.staged(slot(2)).candidate.boots == 2  # type: ignore[union-attr]
    assert staged.staged(slot(2, "dp-new")).candidate.boots == 0  # type: ignore[union-attr]
    assert staged.activated().committed().active.boots == 0  # type: ignore[union-attr]


def test_all_roles_name_the_artifacts_that_they_need() -> None:
    slots = good(1).staged(slot(2)).activated().committed().staged(slot(3))
    assert slots.artifacts() == {f"{n:064x}" for n in (1, 2, 3, 1001, 1002, 1003)}


@pytest.mark.parametrize("renames_are_lost", [True, False])
def test_a_power_cut_at_any_step_of_a_transition_leaves_the_old_roles_or_the_new(
    tmp_path: Path, *, renames_are_lost: bool
) -> None:
    staged = good(1).staged(slot(2))
    transitions = [
        (good(1), staged),
        (staged, staged.activated()),
        (staged.activated(), staged.activated().committed()),
    ]
    for number, (before, after) in enumerate(transitions):
        for cut in range(4):
            models = tmp_path / f"{number}-{cut}"
            SlotFile(models, "tiny").put(before)
            disk = FragileDisk(cut_before=cut)
            with disk.mounted(), pytest.raises(PowerCutError):
                SlotFile(models, "tiny").put(after)
            disk.lose_what_was_not_synced(renames=renames_are_lost)
            assert SlotFile(models, "tiny").slots in (before, after)


def test_a_transition_that_changes_nothing_writes_nothing(tmp_path: Path) -> None:
    file = SlotFile(tmp_path, "tiny")
    file.put(good(1))
    with FragileDisk().mounted() as disk:
        file.put(good(1).booted())
    assert disk.steps == 0


def test_a_disk_that_takes_no_write_keeps_the_old_roles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = SlotFile(tmp_path, "tiny")
    file.put(good(1))

    def full(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("shoal_agent.slots.replace_file", full)
    with pytest.raises(DiskError, match="no space left"):
        file.put(good(2))
    assert file.slots == SlotFile(tmp_path, "tiny").slots == good(1)


def test_a_forgotten_model_leaves_no_file(tmp_path: Path) -> None:
    file = SlotFile(tmp_path, "tiny")
    file.put(good(1))
    file.forget()
    file.forget()
    assert known_models(tmp_path) == []
    assert file.slots.is_empty()


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b'{"active": {"version": "x"}}', b"[]"])
def test_a_damaged_state_file_says_so_and_is_put_aside(tmp_path: Path, content: bytes) -> None:
    SlotFile(tmp_path, "tiny").put(good(1))
    (tmp_path / "tiny" / "state.json").write_bytes(content)
    with pytest.raises(DiskError, match="state.json"):
        SlotFile(tmp_path, "tiny")

    assert put_aside(tmp_path, "tiny").read_bytes() == content
    assert SlotFile(tmp_path, "tiny").slots.is_empty()


def test_a_wish_that_comes_back_after_another_is_not_tried_again_if_it_had_failed() -> None:
    failed = good(1).staged(slot(2)).failed(failure_of(slot(2), PROBLEM)).staged(slot(3)).activated().committed()
    assert failed.failure is None
    for number, is_forbidden in ((2, True), (3, False)):
        wanted = DesiredModel(
            version=number, target="t", manifest=slot(number).manifest, deployment=slot(number).deployment
        )
        assert (failed.forbidding(wanted) is not None) == is_forbidden


def test_no_more_failures_are_remembered_than_there_is_room_for() -> None:
    slots = good(1)
    for number in range(2, 40):
        slots = slots.failed(failure_of(slot(number), PROBLEM))
    assert [one.version for one in slots.past] == list(range(40 - MAX_FAILURES, 40))
