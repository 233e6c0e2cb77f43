"""`shoal fleet simulate`: a fleet of simulated devices at a real hub and broker, to try rollouts on."""

import json
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated

import typer
from pydantic import BaseModel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from shoal_client import ApiError, ShoalClient
from shoal_client.profile import read_profile
from shoal_hub.cli.connection import connect
from shoal_hub.cli.output import AsJson, console, errors, facts, print_json, size_text
from shoal_hub.cli.simulation import FleetState, Simulation, SimulationPlan, simulating

app = typer.Typer(help="The fleet as a whole.", no_args_is_help=True)

_LOOK_S = 0.5
_MOST_DEVICES = 10_000
"""What one enrolment token is good for."""
_DECOMMISSIONS = 4
"""Devices that are decommissioned at a time."""
_NOT_FOUND = 404


class RolloutOutcome(BaseModel):
    """A rollout that ran during the simulation; `last_active_s` is from its start to the last simulated device."""

    id: str
    model: str
    version: int
    state: str
    counts: dict[str, int]
    last_active_s: float | None


class SimulationReport(BaseModel):
    """What a simulation has come to."""

    fleet: FleetState
    rollouts: list[RolloutOutcome]
    wall_s: float
    processes: int
    decommissioned: int


@app.callback()
def fleet() -> None:
    """The fleet as a whole."""


@app.command(epilog="Example: shoal fleet simulate --devices 200 --fault power_cut=0.1 --fault offline=0.2")
def simulate(
    devices: Annotated[int, typer.Option(help="How many devices.", min=1, max=_MOST_DEVICES)],
    fault: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND=PROBABILITY",
            help="offline, slow_link, power_cut, bad_disk or failing_model; may be repeated.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the faults: the same seed, the same faults.")] = 0,
    run_s: Annotated[float, typer.Option(help="Seconds to run once all are enrolled; 0: until Ctrl-C.", min=0)] = 0.0,
    processes: Annotated[int, typer.Option(help="Processes; 0: one a core.", min=0)] = 0,
    group: Annotated[str, typer.Option(help="The group that they join.")] = "",
    data: Annotated[
        Path | None, typer.Option(help="Folder that keeps their identities, so that a later run has the same devices.")
    ] = None,
    requests_per_s: Annotated[
        float, typer.Option(help="Requests that each model of a device is asked, on average; 0: none.", min=0)
    ] = 0.0,
    error_rate: Annotated[
        float, typer.Option(help="Share of them that get an error, on the middle device.", min=0, max=1)
    ] = 0.02,
    device_sd: Annotated[
        float, typer.Option(help="Standard deviation of the devices' own error rates, in logits.", min=0)
    ] = 0.3,
    harm: Annotated[
        list[str] | None,
        typer.Option(
            metavar="VERSION=RATE", help="What a version adds to the error rate, such as 4=0.02; may be repeated."
        ),
    ] = None,
    retry_max_s: Annotated[float, typer.Option(help="Longest wait before a device tries again.", min=0.05)] = 60.0,
    offline_s: Annotated[float, typer.Option(help="Mean seconds without a line, where that is lost.", min=0.1)] = 10.0,
    online_s: Annotated[float, typer.Option(help="Mean seconds between two such losses.", min=0.1)] = 20.0,
    power_off_s: Annotated[float, typer.Option(help="Seconds from a power cut to the next boot.", min=0)] = 2.0,
    slow_bytes_per_s: Annotated[float, typer.Option(help="What a slow line carries.", min=1000)] = 64_000.0,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the devices enrolled at the end.")] = False,
    as_json: AsJson = False,
) -> None:
    """Enrol simulated devices and run them: the agent's own updater over real MQTT, on disks in memory.

    They take part in rollouts like any other device, with the faults that you give them. At the end they are
    decommissioned. docs/guides/simulator.md says what is real and what is not.
    """
    began_s = time.time()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what a service manager sends ends it like Ctrl-C
    given = {
        "seed": seed,
        "retry-max-s": retry_max_s,
        "offline-s": offline_s,
        "online-s": online_s,
        "power-off-s": power_off_s,
        "slow-bytes-per-s": slow_bytes_per_s,
        "requests-per-s": requests_per_s,
        "error-rate": error_rate,
        "device-sd": device_sd,
    }
    options = [f"--{name}={value}" for name, value in given.items()] + [f"--fault={one}" for one in fault or ()]
    options += [f"--harm={one}" for one in harm or ()]
    with connect() as client, _folder(data) as folder:
        token = client.tokens.create(label="simulated", uses=devices, group=group, tags={"simulated": "yes"})
        plan = SimulationPlan(
            hub_url=read_profile().url,
            token=token.token,
            data=folder,
            devices=devices,
            processes=processes or os.cpu_count() or 1,
            options=tuple(options),
        )
        try:
            with simulating(plan) as simulation:
                _watch(simulation, run_s)
                state = simulation.stop()
        finally:
            client.tokens.revoke(token.id)
            gone = 0 if keep else _decommission(client, _identities(folder))
        report = SimulationReport(
            fleet=state,
            rollouts=list(_outcomes(client, state, began_s)),
            wall_s=time.time() - began_s,
            processes=len(simulation.pids),
            decommissioned=gone,
        )
    if as_json:
        print_json(report)
    else:
        _draw(report)


@contextmanager
def _folder(given: Path | None) -> Iterator[Path]:
    if given is not None:
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="shoal-fleet-") as name:
        yield Path(name)


def _watch(simulation: Simulation, run_s: float) -> None:
    """Show how the devices are, until the time is over or somebody presses Ctrl-C."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with suppress(KeyboardInterrupt), Progress(*columns, console=errors, transient=True) as bars:
        total = simulation.plan.devices
        names = ("enrolled", "online", "settled")
        tasks = {name: bars.add_task(name, total=total) for name in names}
        ends_s = float("inf")
        while time.monotonic() < ends_s:
            state = simulation.state()
            if state.enrolled == total and run_s and ends_s == float("inf"):
                ends_s = time.monotonic() + run_s
            bars.update(tasks["enrolled"], completed=state.enrolled)
            bars.update(tasks["online"], completed=state.online)
            bars.update(tasks["settled"], completed=state.sections.get("applied", 0), description=_settled_text(state))
            time.sleep(_LOOK_S)


def _settled_text(state: FleetState) -> str:
    failed = state.sections.get("failed", 0)
    return f"settled ({failed} failed)" if failed else "settled"


def _identities(folder: Path) -> list[Path]:
    """Return the files that say which devices have enrolled."""
    return sorted(folder.glob("devices/*/identity/hub.json"))


def _decommission(client: ShoalClient, identities: Sequence[Path]) -> int:
    """Take the simulated devices from the hub again, and their identities from the folder; return how many."""

    def one(path: Path) -> None:
        try:
            client.devices.decommission(str(json.loads(path.read_bytes())["device_id"]), reason="simulated")
        except ApiError as error:
            if error.status != _NOT_FOUND:
                raise
        shutil.rmtree(path.parent.parent)  # its keys have been those of a device that is gone

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=errors, transient=True) as bars, ThreadPoolExecutor(_DECOMMISSIONS) as pool:
        task = bars.add_task("decommissioned", total=len(identities))
        for _ in pool.map(one, identities):
            bars.advance(task)
    return len(identities)


def _outcomes(client: ShoalClient, state: FleetState, since_s: float) -> Iterator[RolloutOutcome]:
    """Yield the rollouts that began since then, with how long they took to the last simulated device."""
    times = {(one.model, one.version): one.last_active_at_s for one in state.versions}
    for one in client.rollouts.list():
        started_at_s = one.created_at.timestamp()
        if started_at_s < since_s:
            continue
        last = times.get((one.model, one.version))
        yield RolloutOutcome(
            id=one.id,
            model=one.model,
            version=one.version,
            state=one.state,
            counts=one.counts,
            last_active_s=None if last is None else last - started_at_s,
        )


def _draw(report: SimulationReport) -> None:
    state = report.fleet
    shown: list[tuple[str, object]] = [
        ("devices", f"{state.enrolled} enrolled of {state.devices}"),
        ("states", state.states),
        ("sections", state.sections),
        ("active", state.active),
        ("activated twice", state.activated_twice),
        ("received", size_text(state.received_bytes)),
        ("sent", size_text(state.sent_bytes)),
        ("faults", state.faults),
        (
            "simulator",
            f"{state.cpu_s:.1f} s of CPU in {report.processes} processes, {report.wall_s:.1f} s by the clock",
        ),
        ("decommissioned", report.decommissioned),
    ]
    shown += [
        (one.id, f"{one.model} version {one.version} {one.state}, last active after {_seconds(one.last_active_s)}")
        for one in report.rollouts
    ]
    facts(shown)
    console.print("[dim]docs/guides/simulator.md explains the numbers.[/dim]")


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} s"
