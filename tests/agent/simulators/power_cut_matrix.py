"""Every update, cut at every operation on the disk with every outcome, printed as a table: `make power-cut-matrix`.

The points are the operations that the code really did when the update was recorded. After each cut the device boots
from what the disk has kept, without a source; then it converges. An unsynced write may be gone, torn or out of order.
"""

import random
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TextIO

import anyio
from tests.agent.simulators.device import Device
from tests.agent.simulators.disk_operations import OUTCOMES, Operation, Outcome, image
from tests.agent.simulators.recorded_disk import RecordedDisk, lay_down
from tests.agent.simulators.updates import OUTBOX, UPDATES, Recorded, Update, carry_out, open_outbox, record

from shoal_agent.errors import AgentError
from shoal_contract.telemetry import DeploymentEvent, Event

Disk = dict[str, "bytes | None"]


class Cut(NamedTuple):
    """One disk that a cut leaves, and where it comes from: (point, outcome), more than one if they leave the same."""

    disk: Disk
    origins: list[tuple[int, Outcome]]
    told: tuple[str, ...]
    """Steps of which the outbox has to know."""


@dataclass(frozen=True)
class Verdict:
    """What became of a device: which version its next start served, and what was wrong, if anything."""

    served: int | None
    problem: str = ""


def cuts_of(recorded: Recorded) -> list[Cut]:
    """Return the disks that cuts can leave, each once."""
    cuts: dict[tuple[object, ...], Cut] = {}
    for point in range(len(recorded.recording.operations) + 1):
        told = tuple(step for at, step in recorded.told if at <= point)
        for outcome in OUTCOMES:
            disk = image(recorded.recording, point, outcome)
            key = (told, *sorted((path, content) for path, content in disk.items() if content is not None))
            cuts.setdefault(key, Cut(disk, [], told)).origins.append((point, outcome))
    return list(cuts.values())


async def examine(recorded: Recorded, cut: Cut, folder: Path) -> Verdict:
    """Boot a device from the disk that a cut has left, without a source, and converge with it."""
    lay_down(cut.disk, folder)
    try:
        device = Device(folder, recorded.source)
    except AgentError as error:
        return Verdict(None, f"the start fails: {error}")
    recorded.source.is_down = True
    try:
        served, problem = await _boot(device, recorded.update, cut, folder)
        recorded.source.is_down = False
        return Verdict(served, problem or await _converge(device, recorded))
    finally:
        recorded.source.is_down = False
        await device.server.aclose()


async def cut_again(recorded: Recorded, cut: Cut, folder: Path, chance: random.Random) -> Cut:
    """Return what is left of the disk where the power goes once more while a device recovers from the first cut."""
    lay_down(cut.disk, folder)
    disk = RecordedDisk(folder)
    with disk.mounted():
        device = Device(folder, recorded.source)
        await device.updater.boot()
        await carry_out(recorded.update, device, recorded.wanted, device.steps.append)
    await device.server.aclose()
    point, outcome = chance.randint(0, len(disk.recording.operations)), chance.choice(OUTCOMES)
    return Cut(image(disk.recording, point, outcome), [(point, outcome)], cut.told)


async def _boot(device: Device, update: Update, cut: Cut, folder: Path) -> tuple[int | None, str]:
    known = _known_steps(folder)
    try:
        await device.updater.boot()
    except AgentError as error:
        return device.serves, f"the start fails: {error}"
    if device.serves not in {update.old, update.new}:
        return device.serves, f"serves {device.serves}, neither {update.old} nor {update.new}"
    if known[: len(cut.told)] != cut.told:
        return device.serves, f"the outbox knows {', '.join(known)} of the steps that were told: {', '.join(cut.told)}"
    if "activate" in cut.told and device.serves != update.new:
        return device.serves, f"serves {device.serves} after the hub was told that {update.new} is active"
    return device.serves, ""


def _known_steps(folder: Path) -> tuple[str, ...]:
    with closing(open_outbox(folder)) as outbox:
        queued = outbox.after(1, 100)  # one was there before
    bodies = [Event.model_validate_json(one.body).body for one in queued]
    return tuple(step for body in bodies if isinstance(body, DeploymentEvent) for step in body.steps)


async def _converge(device: Device, recorded: Recorded) -> str:
    update, slots = recorded.update, device.updater.file.slots
    is_known_as_bad = update.is_refused and slots.failure is not None
    try:
        await carry_out(update, device, recorded.wanted, device.steps.append)
    except AgentError as error:
        return f"does not converge: {error}"
    if device.serves != update.new:
        return f"serves {device.serves} in the end, expected {update.new}"
    if is_known_as_bad and device.steps:
        return "a version that is known as bad was tried again"
    return left_over(device)


def left_over(device: Device) -> str:
    """Say which files there are beyond those that the roles need."""
    slots = device.updater.file.slots
    needed = {"identity/encryption.pem", *(f"blobs/{sha256}" for sha256 in slots.artifacts())}
    if not slots.is_empty():
        needed.add("models/tiny/state.json")
    files = {str(path.relative_to(device.folder)) for path in device.folder.rglob("*") if path.is_file()}
    left = {path for path in files ^ needed if not path.startswith(OUTBOX)}
    return f"left over or missing: {', '.join(sorted(left))}" if left else ""


def explain(recorded: Recorded, cut: Cut, verdict: Verdict) -> str:
    """Say at which points which outcomes leave the disk that does not come right."""
    at = ", ".join(f"{point} {outcome.name}" for point, outcome in cut.origins)
    return f"{recorded.update.name}, {at}: {verdict.problem}"


def table(recorded: Recorded, found: Sequence[tuple[Cut, Verdict]]) -> Iterator[str]:
    """Yield a line for each point: the operation that the cut came before, and what served after each outcome."""
    served = {origin: verdict for cut, verdict in found for origin in cut.origins}
    operations: list[Operation | None] = [*recorded.recording.operations, None]
    for point, operation in enumerate(operations):
        cells = [_cell(served[point, outcome]) for outcome in OUTCOMES]
        what = "the end" if operation is None else f"{operation.kind} {_short(operation)}"
        yield f"{recorded.update.name:20} {point:3}  {what:44} {' '.join(f'{cell:>12}' for cell in cells)}"


def _short(operation: Operation) -> str:
    folder, _, name = operation.path.rpartition("/")
    sha256, dot, tail = name.partition(".")
    return f"{folder}/{sha256[:8] + dot + tail if len(sha256) == 64 else name}".lstrip("/")


def _cell(verdict: Verdict) -> str:
    return "FAILS" if verdict.problem else "nothing" if verdict.served is None else f"version {verdict.served}"


class Sums(NamedTuple):
    """How large the matrix is, and what fails in it."""

    points: int
    cuts: int
    disks: int
    failures: list[str]


async def print_matrix(out: TextIO) -> Sums:
    """Print the whole matrix and its sums."""
    points, cuts, disks, failures = 0, 0, 0, list[str]()
    print(f"{'update':20} {'':3}  {'cut before':44} {' '.join(f'{one.name:>12}' for one in OUTCOMES)}", file=out)
    with tempfile.TemporaryDirectory() as folder:
        for place, update in ((Path(folder) / str(number), update) for number, update in enumerate(UPDATES)):
            recorded = await record(update, place / "recorded")
            numbered = enumerate(cuts_of(recorded))
            found = [(cut, await examine(recorded, cut, place / str(number))) for number, cut in numbered]
            print(*table(recorded, found), sep="\n", file=out)
            points += len(recorded.recording.operations) + 1
            cuts += sum(len(cut.origins) for cut, _ in found)
            disks += len(found)
            failures += [explain(recorded, cut, verdict) for cut, verdict in found if verdict.problem]
    sums = f"{len(UPDATES)} updates, {points} points, {cuts} cuts, {disks} different disks, {len(failures)} that fail"
    print("", sums, *failures, sep="\n", file=out)
    return Sums(points, cuts, disks, failures)


if __name__ == "__main__":
    sys.exit(1 if anyio.run(print_matrix, sys.stdout).failures else 0)
