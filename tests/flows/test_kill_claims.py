"""What the matrix of kills claims can fail: each kind of harm, done to evidence of a fleet that is well, is seen."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import NoReturn, cast

import pytest
from tests.simulators.hub_process import HubProcess
from tests.simulators.kills.claims import Book, problems, unrest
from tests.simulators.kills.evidence import DeploymentRow, DiskFacts, Evidence, RolloutRow, Tables, Told, Wanted
from tests.simulators.kills.matrix import moment_of
from tests.simulators.kills.operator import Operator
from tests.simulators.kills.plan import HUB_PARTS, PlannedRollout, plan_round

from shoal_agent.simulated.journal import Change
from shoal_agent.slots import Slot, Slots
from shoal_contract.artifact_ref import ArtifactRef

MODEL, ROLLOUT = "tiny", "r-1"
DEVICES = ("d-1", "d-2")
Harm = Callable[[Evidence], Evidence]


def slot(deployment: str, version: int = 2) -> Slot:
    manifest = ArtifactRef(sha256="a" * 64, size_bytes=1)
    return Slot(
        version=version, target="pi4", sha256="b" * 64, size_bytes=1, manifest=manifest,
        deployment=deployment, order=(1, 1),
    )  # fmt: skip


def update(deployment: str, version: int = 2, before: Slots | None = None) -> list[Change]:
    """Return what an update makes of the roles."""
    slots = [before or Slots()]
    for step in (lambda now: now.staged(slot(deployment, version)), Slots.activated, Slots.committed):
        slots.append(step(slots[-1]))
    return [Change(model=MODEL, before=one, after=other) for one, other in pairwise(slots)]


def disk(changes: list[Change]) -> DiskFacts:
    return DiskFacts({MODEL: changes[-1].after}, changes)


def deployment(device: str, state: str = "succeeded", **changes: str | None) -> DeploymentRow:
    row = DeploymentRow(f"dp-{device}", ROLLOUT, device, state, "pi4", None, None, "")
    return row._replace(**changes)


def well() -> Evidence:
    """Return the evidence of a rollout of version 2 to both devices, which has succeeded."""
    tables = Tables(
        rollouts={ROLLOUT: RolloutRow(MODEL, 2, "succeeded")},
        deployments=[deployment(device) for device in DEVICES],
        wanted={device: Wanted((1, 7), {MODEL: (2, f"dp-{device}")}, device.encode()) for device in DEVICES},
        told={device: Told((1, 7), {MODEL: 2}, []) for device in DEVICES},
        events=Counter({("rollout_started", ROLLOUT): 1, ("commit", "dp-d-1"): 1, ("fetch", "dp-d-1"): 3}),
    )
    return Evidence(
        tables=tables,
        disks={device: disk(update(f"dp-{device}")) for device in DEVICES},
        retained={device: device.encode() for device in DEVICES},
        counts={ROLLOUT: {"succeeded": 2}},
        serving=Counter({f"{MODEL}/2": 2}),
    )


def book_of(evidence: Evidence) -> Book:
    book = Book(rollouts={ROLLOUT: frozenset(DEVICES)})
    book.close(ROLLOUT, evidence.tables)
    return book


def with_tables(**changes: object) -> Harm:
    return lambda evidence: replace(evidence, tables=replace(evidence.tables, **changes))


def with_first(row: DeploymentRow) -> Harm:
    return with_tables(deployments=[row, deployment(DEVICES[1])])


def with_disk(changes: list[Change]) -> Harm:
    return lambda evidence: replace(evidence, disks={**evidence.disks, DEVICES[0]: disk(changes)})


def again(evidence: Evidence) -> Evidence:
    first = evidence.disks[DEVICES[0]]
    return with_disk([*first.changes, *update("dp-d-1", before=first.roles[MODEL])])(evidence)


def told(**changes: object) -> Harm:
    return lambda evidence: with_tables(
        told={**evidence.tables.told, DEVICES[0]: evidence.tables.told[DEVICES[0]]._replace(**changes)}
    )(evidence)


HARMS: dict[str, tuple[Harm, str]] = {
    "a rollout is gone": (with_tables(rollouts={}, deployments=[]), "lost: rollout"),
    "a rollout is gone, its attempts are not": (with_tables(rollouts={}), "is of rollout r-1, which is gone"),
    "a device was left out": (with_tables(deployments=[deployment(DEVICES[1])]), "lost: rollout"),
    "an attempt never ended": (with_first(deployment(DEVICES[0], "working")), "lost: dp-d-1 is working"),
    "an attempt has failed": (with_first(deployment(DEVICES[0], "failed", problem="fetch")), "has failed"),
    "a deployment went over itself": (again, "twice: d-1 has activated dp-d-1 2 times"),
    "another version was good": (with_disk(update("dp-d-1", 3)), "untrue: dp-d-1 of version 2"),
    "success without a proof": (with_disk(update("dp-9")), "untrue: dp-d-1 has succeeded"),
    "never told, and active": (with_first(deployment(DEVICES[0], target="")), "was never told"),
    "another version is active": (with_disk(update("dp-9", 1)), "wrong: d-1 has {'tiny': 1} active"),
    "the hub has another word": (told(active={MODEL: 1}), "the hub says {'tiny': 1}"),
    "another deployment is active": (with_disk(update("dp-9")), "is desired"),
    "a candidate is left": (with_disk(update("dp-d-1")[:1]), "has a candidate"),
    "one does not answer": (lambda well: replace(well, serving=Counter({f"{MODEL}/2": 1})), "answer"),
    "counts do not add up": (lambda well: replace(well, counts={ROLLOUT: {"succeeded": 1}}), "counts:"),
    "noted twice": (with_tables(events=Counter({("commit", "dp-d-1"): 2})), "twice: commit"),
    "the broker has an older state": (lambda well: replace(well, retained={"d-1": b"old", "d-2": b"d-2"}), "broker:"),
    "the broker has lost a state": (lambda well: replace(well, retained={"d-2": b"d-2"}), "broker:"),
}


def test_nothing_is_wrong_with_a_fleet_that_is_well() -> None:
    assert problems(well(), book_of(well())) == []
    assert unrest(well().tables) == []


@pytest.mark.parametrize("name", HARMS)
def test_harm_is_seen(name: str) -> None:
    harm, words = HARMS[name]
    harmed, book = harm(well()), book_of(well())
    book.close(ROLLOUT, harmed.tables)
    found = problems(harmed, book)
    assert any(words in one for one in found), found


def test_an_operator_says_whatever_ends_its_work() -> None:
    class Broken:
        def client(self) -> NoReturn:
            raise RuntimeError("no memory")

    operator = Operator(cast("HubProcess", Broken()), [MODEL], DEVICES, Book())
    for thread in operator.carry_out([PlannedRollout(0, (0,), (1,), 0.0, "nothing", 0.0)]):
        thread.join(timeout=10)
    assert operator.problems == ["operator: nothing: RuntimeError: no memory"]


def test_a_device_may_give_up_a_version_at_which_its_agent_was_killed_again_and_again() -> None:
    fails = deployment(DEVICES[0], "failed", problem="ended")
    harmed = with_first(fails)(with_disk(update("dp-1", 1))(well()))
    found = problems(harmed, book_of(well()))
    assert not any(one.startswith("lost") for one in found), found


@pytest.mark.parametrize(
    "change",
    [
        with_tables(rollouts={ROLLOUT: RolloutRow(MODEL, 2, "running")}),
        with_first(deployment(DEVICES[0], "assigned")),
        with_first(deployment(DEVICES[0], rollback="b-1")),
        with_tables(stale=1),
        told(order=(1, 6)),
        told(unsettled=["models/tiny working"]),
    ],
)
def test_what_still_goes_on_is_no_rest(change: Harm) -> None:
    assert len(unrest(change(well()).tables)) == 1


def test_the_moment_is_that_of_the_furthest_rollout() -> None:
    tables = with_first(deployment(DEVICES[0], "assigned"))(well()).tables
    assert moment_of(tables, [ROLLOUT]) == "told"
    assert moment_of(tables, []) == "at rest"
    back = with_first(deployment(DEVICES[0], "working", rollback="b-1"))(well()).tables
    assert moment_of(back, [ROLLOUT]) == "going back"


def test_a_seed_and_a_number_give_the_same_round_again() -> None:
    rounds = [plan_round(1, number, 8, 16, HUB_PARTS) for number in (0, 1)]
    assert rounds[0] == plan_round(1, 0, 8, 16, HUB_PARTS)
    assert rounds[0].kills != rounds[1].kills
    assert all(0 < sum(one.waves) == len(one.devices) <= 16 for round_ in rounds for one in round_.rollouts)
