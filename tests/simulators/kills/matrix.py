"""Rounds of rollouts with kills amid them; after each, the witnesses are heard and every claim is checked."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, TextIO

from tests.simulators.kills.claims import Book, is_open, problems, unrest
from tests.simulators.kills.evidence import DiskFacts, Evidence, Tables, read_retained, read_tables
from tests.simulators.kills.hub_parts import HubParts
from tests.simulators.kills.operator import Operator
from tests.simulators.kills.plan import HUB_PARTS, Kill, Round, plan_round

from shoal_client import ShoalClient

_REST_S: Final = 150.0
_LOOK_S: Final = 0.25
_MOMENT_S: Final = 2.0
"""So long a kill waits for its moment, and for what is to be killed to run."""


class Fleet(Protocol):
    """Devices that can be killed."""

    PARTS: tuple[str, ...]
    ids: list[str]

    def kill(self, kill: Kill) -> bool:
        """Kill as it says; return whether there was anything to kill."""

    def begin_again(self) -> None:
        """Start what was killed."""

    def wait_until_whole(self) -> None:
        """Wait until all devices run."""

    def disks(self) -> dict[str, DiskFacts]:
        """Read the disks, by device."""

    def serving(self) -> Counter[str]:
        """Ask the devices what serves, as `model/version`."""

    def power_cuts(self) -> int:
        """How many devices have lost power in a process that went on."""

    def close(self) -> None:
        """Leave nothing running."""


@dataclass
class Sums:
    """What was done, and what was found."""

    rollouts: Counter[str] = field(default_factory=Counter)
    deployments: Counter[str] = field(default_factory=Counter)
    kills: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By (part, moment)."""
    down: Counter[str] = field(default_factory=Counter)
    """Kills of what did not run, by part."""
    power_cuts: int = 0
    """Fewer than kills of devices: not every one writes as often as its kill had named."""
    activations: int = 0
    rest_s: list[float] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)


class Matrix:
    """A hub, its models and a fleet, over which rounds go.

    Args:
        parts: The hub.
        fleet: The devices.
        models: Names of the models.
        out: Where what happens is printed.
    """

    def __init__(self, parts: HubParts, fleet: Fleet, models: Sequence[str], out: TextIO) -> None:
        self._parts = parts
        self._fleet = fleet
        self._sizes = len(models), len(fleet.ids)
        self._out = out
        self._book = Book()
        self._data = parts.hub.data
        self.operator = Operator(parts.hub, models, fleet.ids, self._book)
        self.sums = Sums()

    def run(self, seed: int, rollouts: int, first: int = 0) -> None:
        """Carry out rounds until so many rollouts were begun, or something is wrong.

        Args:
            seed: Of all that happens.
            rollouts: How many at least.
            first: Number of the first round.
        """
        begun, number, is_well = 0, first, True
        while begun < rollouts and is_well:
            parts = (*HUB_PARTS, *self._fleet.PARTS)
            is_well = self.carry_out(plan_round(seed, number, *self._sizes, parts))
            begun, number = begun + len(self.operator.begun), number + 1

    def carry_out(self, round_: Round) -> bool:
        """Carry out a round; return whether all was well."""
        before = len(self.sums.problems)
        threads, started_s = self.operator.carry_out(round_.rollouts), time.monotonic()
        for kill in round_.kills:
            time.sleep(max(0.0, started_s + kill.at_s - time.monotonic()))
            self._strike(kill)
        for thread in threads:
            thread.join()
        self._begin_again()
        ended_s = time.monotonic()
        self.sums.problems += [f"round {round_.number}: {one}" for one in (self.operator.problems or self._examine())]
        self.operator.problems = []
        self.sums.rest_s.append(time.monotonic() - ended_s)
        self._print_round(round_, time.monotonic() - started_s)
        return len(self.sums.problems) == before

    def _strike(self, kill: Kill) -> None:
        moment = self._wait_for(kill.moment)
        if self._kills_soon(kill):
            self.sums.kills[kill.part, moment] += 1
        else:
            self.sums.down[kill.part] += 1
        if kill.part in {"supervisor", *self._fleet.PARTS}:
            time.sleep(kill.down_s)
        self._begin_again()

    def _kills_soon(self, kill: Kill) -> bool:
        """Kill what may be coming back from another kill just now; return whether it came."""
        deadline_s = time.monotonic() + _MOMENT_S
        while not (self._parts.kill(kill.part) if kill.part in HUB_PARTS else self._fleet.kill(kill)):
            if time.monotonic() > deadline_s:
                return False
            self._begin_again()
            time.sleep(_LOOK_S)
        return True

    def _wait_for(self, wanted: str) -> str:
        """Return what moment it is, at the latest after a while."""
        deadline_s = time.monotonic() + _MOMENT_S
        while True:
            found = moment_of(read_tables(self._data), self.operator.begun)
            if wanted in {"", found} or time.monotonic() > deadline_s:
                return found
            time.sleep(_LOOK_S / 10)

    def _begin_again(self) -> None:
        self._parts.begin_again()
        self._fleet.begin_again()

    def _examine(self) -> list[str]:
        """Wait for rest, and return all that is wrong then."""
        self._parts.wait_until_it_serves()
        self._fleet.wait_until_whole()
        deadline_s = time.monotonic() + _REST_S
        while going_on := unrest(read_tables(self._data)):
            if time.monotonic() > deadline_s:
                return [f"no rest after {_REST_S} s: {one}" for one in going_on]
            time.sleep(_LOOK_S)
        tables = read_tables(self._data)
        for rollout in self.operator.begun:
            self._book.close(rollout, tables)
        evidence = self._collect(tables, deadline_s)
        self._count(evidence)
        return problems(evidence, self._book)

    def _collect(self, tables: Tables, deadline_s: float) -> Evidence:
        wanted = {device: one.envelope for device, one in tables.wanted.items()}
        while (retained := read_retained(self._data)) != wanted and time.monotonic() < deadline_s:
            time.sleep(_LOOK_S)  # a broker that was killed last is being told everything again

        def counts(client: ShoalClient) -> dict[str, dict[str, int]]:
            return {rollout: client.rollouts.show(rollout, limit=1).counts for rollout in self._book.rollouts}

        return Evidence(
            tables=tables,
            disks=self._fleet.disks(),
            retained=retained,
            counts=self.operator.ask(counts),
            serving=self._fleet.serving(),
        )

    def _count(self, evidence: Evidence) -> None:
        mine = set(self._book.rollouts)
        self.sums.rollouts = Counter(row.state for name, row in evidence.tables.rollouts.items() if name in mine)
        self.sums.deployments = Counter(one.state for one in evidence.tables.deployments if one.rollout in mine)
        self.sums.activations = sum(disk.activated.total() for disk in evidence.disks.values())
        self.sums.power_cuts = self._fleet.power_cuts()
        self.sums.done = self.operator.done

    def _print_round(self, round_: Round, took_s: float) -> None:
        kills = " ".join(f"{kill.part}@{kill.at_s:.1f}" for kill in round_.kills)
        found = len([one for one in self.sums.problems if one.startswith(f"round {round_.number}:")])
        verdict = f"{found} PROBLEMS" if found else "well"
        took = f"{took_s:5.1f} s, rest {self.sums.rest_s[-1]:5.1f} s"
        print(f"round {round_.number:3}  {len(self.operator.begun):2} rollouts  {took}  {verdict:11} {kills}",
              file=self._out, flush=True)  # fmt: skip


def moment_of(tables: Tables, begun: Sequence[str]) -> str:
    """Return how far the furthest of the rollouts that are going on is."""
    mine = [one for one in tables.deployments if one.rollout in begun]
    states = {one.state for one in mine if is_open(one)}
    if any(one.rollback is not None and is_open(one) for one in mine):
        return "going back"
    if not states:
        return "at rest"
    if "working" in states:
        return "at work"
    if "assigned" in states:
        return "told"
    return "some done" if any(one.state == "succeeded" for one in mine) else "nothing told"
