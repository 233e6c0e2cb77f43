"""`python -m shoal_agent.simulated`: simulates devices in this process, and says how they are in JSON lines.

`shoal fleet simulate` is what people use; it starts this once a core. Commands come as lines of JSON on standard input,
whose end ends the simulation: a child never outlives who started it.
"""

import asyncio
import logging
import os
import resource
import signal
import sys
import tempfile
from pathlib import Path

import anyio
import click
from pydantic import BaseModel, ConfigDict, ValidationError

from shoal_agent.errors import AgentError, cause_of
from shoal_agent.settings import AgentSettings, FetchSettings, LinkSettings, OutboxSettings
from shoal_agent.simulated.faults import FaultTimes, parse_rates
from shoal_agent.simulated.fleet import Fleet, FleetPlan
from shoal_agent.simulated.traffic import TrafficPlan
from shoal_contract import topics
from shoal_contract.ids import Sha256

_SPARE_FILES = 256
"""Open files of the process besides those of its devices."""
_FILES_OF_A_KEPT_DISK = 6
"""An outbox, its log, and what is being written."""


class Command(BaseModel):
    """A line on standard input."""

    model_config = ConfigDict(frozen=True)

    do: str
    sha256: Sha256 = "0" * 64
    chunks: int = 0
    window: int = 4
    device: int = 0
    write: int = 0


def parse_fault(text: str) -> tuple[str, float]:
    """Return the kind and the probability of `KIND=PROBABILITY`.

    Raises:
        click.BadParameter: It is none.
    """
    kind, _, probability = text.partition("=")
    try:
        return kind, float(probability)
    except ValueError as error:
        msg = f"{text!r} found, KIND=PROBABILITY expected, such as power_cut=0.1"
        raise click.BadParameter(msg) from error


def parse_harm(text: str) -> tuple[int, float]:
    """Return the version and what it adds to the error rate, of `VERSION=RATE`.

    Raises:
        click.BadParameter: It is none.
    """
    version, _, rate = text.partition("=")
    try:
        return int(version), float(rate)
    except ValueError as error:
        msg = f"{text!r} found, VERSION=RATE expected, such as 4=0.02"
        raise click.BadParameter(msg) from error


@click.command(
    context_settings={"max_content_width": 120},
    epilog="Example: SHOAL_TOKEN=… python -m shoal_agent.simulated --hub https://hub:8443 --devices 20 --data /tmp/sim",
)
@click.option("--hub", required=True, envvar="SHOAL_HUB", show_envvar=True, help="The hub's address.")
@click.option("--devices", required=True, type=click.IntRange(min=1), help="How many devices.")
@click.option("--first", default=0, type=click.IntRange(min=0), help="Number of the first one.")
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Folder of the devices' identities.")
@click.option("--name", default="sim", help="What the devices' names begin with.")
@click.option("--seed", default=0, help="Of the faults: the same seed, the same faults.")
@click.option(
    "--fault", "faults", multiple=True, metavar="KIND=PROBABILITY",
    help="offline, slow_link, power_cut, bad_disk or failing_model; may be repeated.",
)  # fmt: skip
@click.option("--online-s", default=20.0, help="Mean time with a line, of a device that loses it.")
@click.option("--offline-s", default=10.0, help="Mean time without.")
@click.option("--power-off-s", default=2.0, help="From a power cut to the next boot.")
@click.option("--slow-bytes-per-s", default=64_000.0, help="What a slow line carries.")
@click.option("--requests-per-s", default=0.0, help="Requests that each model of a device is asked, on average.")
@click.option("--error-rate", default=0.02, help="Share of them that get an error, on the middle device.")
@click.option("--device-sd", default=0.3, help="Standard deviation of the devices' own error rates, in logits.")
@click.option(
    "--harm", "harms", multiple=True, metavar="VERSION=RATE",
    help="What a version adds to the error rate, such as 4=0.02; may be repeated.",
)  # fmt: skip
@click.option("--retry-max-s", default=60.0, help="Longest wait before an agent tries something again.")
@click.option("--keep-disks", is_flag=True, help="Keep the disks in the folder, too; they outlive this process.")
@click.option("--tell-s", default=0.5, help="Seconds between two lines on how the devices are.")
def main(
    *,
    hub: str,
    devices: int,
    first: int,
    data: Path,
    name: str,
    seed: int,
    faults: tuple[str, ...],
    online_s: float,
    offline_s: float,
    power_off_s: float,
    slow_bytes_per_s: float,
    requests_per_s: float,
    error_rate: float,
    device_sd: float,
    harms: tuple[str, ...],
    retry_max_s: float,
    keep_disks: bool,
    tell_s: float,
) -> None:
    """Simulate devices; prints JSON lines, takes commands on standard input and ends with it.

    The enrolment token is read from SHOAL_TOKEN. Commands: {"do": "stop"}, and {"do": "fan_out", "sha256": …, "chunks":
    …, "window": …}, which has every device read an artifact's chunks and throw them away; {"do": "power_cut",
    "device": …, "write": …}, which cuts a device's power right before a coming write of its disk, or now (0).
    """
    logging.basicConfig(level=os.environ.get("SHOAL_LOG_LEVEL", "ERROR").upper(), stream=sys.stderr)
    try:
        rates = parse_rates(dict(map(parse_fault, faults)))
        traffic = TrafficPlan(requests_per_s, error_rate, device_sd, dict(map(parse_harm, harms)))
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    times = FaultTimes(online_s, offline_s, power_off_s, slow_bytes_per_s)
    raise_file_limit(devices * (1 + keep_disks * _FILES_OF_A_KEPT_DISK))
    data.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="shoal-simulated-") as scratch:
        plan = FleetPlan(
            hub_url=hub,
            token=os.environ.get("SHOAL_TOKEN", ""),
            data=data,
            settings=settings_for(Path(scratch), retry_max_s),
            first=first,
            devices=devices,
            name=name,
            seed=seed,
            rates=rates,
            times=times,
            traffic=traffic,
            keeps_disks=keep_disks,
        )
        try:
            anyio.run(simulate, Fleet(plan), tell_s)
        except Exception as error:
            cause = cause_of(error)
            if isinstance(cause, AgentError):
                raise click.ClickException(f"{cause}; {cause.remedy}") from error
            raise


def settings_for(scratch: Path, retry_max_s: float) -> AgentSettings:
    """Return the settings of every device: an agent's own, but for how long it waits before it tries again.

    Args:
        scratch: A folder of this process's own.
        retry_max_s: Longest wait.
    """
    return AgentSettings(
        data_dir=scratch,
        link=LinkSettings(reconnect_max_s=retry_max_s, reconnect_min_s=min(0.5, retry_max_s)),
        fetch=FetchSettings(retry_max_s=retry_max_s, retry_min_s=min(1.0, retry_max_s)),
        outbox=OutboxSettings(resend_max_s=max(5.0, retry_max_s)),
    )


def raise_file_limit(files: int) -> None:
    """Let this process open its devices' sockets and files.

    Raises:
        click.ClickException: The machine does not allow so many.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = files + _SPARE_FILES
    if hard != resource.RLIM_INFINITY and hard < wanted:
        msg = f"simulating devices: this process may open {hard} files, {wanted} are needed"
        raise click.ClickException(f"{msg}; raise the limit (ulimit -n), or use more processes")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(wanted, min(hard, wanted)), hard))


async def simulate(fleet: Fleet, tell_s: float) -> None:
    """Run a fleet until it is told to stop, and say how it is all the while."""
    async with anyio.create_task_group() as group:
        with anyio.CancelScope() as until_told:
            group.start_soon(_cancel_on_signal, until_told)
            group.start_soon(_tell_states, fleet, tell_s)
            await fleet.enrol()
            group.start_soon(fleet.run)
            await _take_commands(fleet)
        await fleet.say_farewell()
        tell(fleet.state().model_copy(update={"kind": "report"}))
        group.cancel_scope.cancel()


async def _take_commands(fleet: Fleet) -> None:
    """Do what standard input says, until it ends or says to stop."""
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
    while line := await reader.readline():
        try:
            command = Command.model_validate_json(line)
        except ValidationError:
            logging.getLogger(__name__).exception("command %r: not understood", line)
            continue
        if command.do == "stop":
            return
        if command.do == "power_cut":
            fleet.cut_power(command.device, command.write)
        if command.do == "fan_out":
            chunks = [topics.artifact_chunk(command.sha256, index) for index in range(command.chunks)]
            tell(await fleet.fan_out(chunks, command.window))


async def _tell_states(fleet: Fleet, every_s: float) -> None:
    while True:
        tell(fleet.state())
        await anyio.sleep(every_s)


async def _cancel_on_signal(scope: anyio.CancelScope) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            scope.cancel()


def tell(line: BaseModel) -> None:
    """Print one line of JSON."""
    sys.stdout.write(line.model_dump_json() + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
