"""The agent's own command line, `shoal-agent`: who the device is, what runs on it, and what its owner says to updates.

It starts with click and the standard library alone; each command imports what it needs.
"""

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from shoal_agent.cli_api_keys import api_keys_group
from shoal_agent.cli_batch import batch_command, batch_folder_option, no_benchmarks_option, send_results_option
from shoal_agent.cli_captures import capture_option, captures_group, rules_option, send_option
from shoal_agent.cli_datasets import data_group
from shoal_agent.cli_engines import engine_options, engine_settings
from shoal_agent.cli_features import features_folder_option, features_hooks_option
from shoal_agent.cli_identity import identity_group, key
from shoal_agent.cli_memory import memory_command, memory_options, memory_settings
from shoal_agent.cli_options import LARGEST_PORT, READABLE_FILE, data_option, json_option, readable
from shoal_agent.cli_serving import (
    handover_host_option,
    handover_port_option,
    serving_options,
    serving_places,
    serving_settings,
)
from shoal_agent.cli_shedding import hard_option, priority_option, soft_option
from shoal_agent.cli_tracing import tracing_option
from shoal_agent.cli_updates import (
    budget_option,
    hold_command,
    probes_group,
    probes_option,
    release,
    reserve_option,
    storage,
)
from shoal_agent.tuf.cli import tuf_group
from shoal_contract import __version__

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from shoal_agent.engines import EngineSetup
    from shoal_agent.slots import Slots
    from shoal_contract.enrolment import EnrolmentPending
    from shoal_contract.reported import Runtime

_LOG_LEVELS = ("debug", "info", "warning", "error")


@click.group(context_settings={"max_content_width": 120})
@click.version_option(__version__, message="%(version)s")
def app() -> None:
    """Shoal's agent on this device."""


_COMMANDS = (
    key,
    identity_group,
    api_keys_group,
    data_group,
    tuf_group,
    hold_command,
    release,
    probes_group,
    storage,
    batch_command,
    captures_group,
    memory_command,
)
for command in _COMMANDS:
    app.add_command(command)


@app.command(epilog="Example: shoal-agent enrol --hub https://hub:8443 --token-file token.txt --name cam-7")
@data_option
@click.option(
    "--hub", required=True, envvar="SHOAL_HUB", show_envvar=True, help="The hub's address, https://host:port."
)
@click.option("--token-file", type=READABLE_FILE, help="A file that holds the one-time token; or set SHOAL_TOKEN.")
@click.option("--name", default="", help="A label for people; the hub makes the id.")
@click.option("--ca-sha256", default="", help="Without a token: the fingerprint of the hub's CA.")
@click.option("--wait-s", type=float, default=None, help="Without a token: how long to wait for an operator at most.")
@json_option
@readable
def enrol(
    *,
    data: Path,
    hub: str,
    token_file: Path | None,
    name: str,
    ca_sha256: str,
    wait_s: float | None,
    as_json: bool,
) -> None:
    """Enrol this device at a hub: with a one-time token, or by its key. Does nothing where it is enrolled already.

    The token is never an argument, which everybody on the machine can read. Without one the hub knows the key already
    (`shoal devices authorise`), or an operator accepts it while the device waits (`shoal devices pending`).
    """
    import math

    from shoal_agent.enrol import Waiting
    from shoal_agent.enrol import enrol as enrol_device

    text = token_file.read_text() if token_file else os.environ.get("SHOAL_TOKEN", "")
    waiting = Waiting(tell=_tell_pending, most_s=math.inf if wait_s is None else wait_s)
    label = name or os.uname().nodename
    identity = enrol_device(data / "identity", hub, text, label, ca_sha256=ca_sha256, waiting=waiting)
    answer = {"device_id": identity.device_id, "broker": f"{identity.broker_host}:{identity.broker_port}"}
    if as_json:
        click.echo(json.dumps(answer))
    else:
        click.echo(f"enrolled as {identity.device_id}; now run: shoal-agent run --data {data}")


def _tell_pending(pending: "EnrolmentPending") -> None:
    text = f"waiting for an operator to accept the key {pending.key_sha256}; next look in {pending.retry_after_s:g} s"
    click.echo(text, err=True)


@app.command(epilog="Example: shoal-agent run --port 8080")
@data_option
@click.option(
    "--port",
    type=click.IntRange(0, LARGEST_PORT),
    default=8080,
    show_default=True,
    help="Port of the local inference endpoint; 0 takes a free one.",
)
@serving_options
@click.option(
    "--runtime",
    "runtimes",
    multiple=True,
    help="Use this runtime only (onnxruntime, litert); default: what is installed. May be given several times.",
)
@engine_options
@click.option(
    "--site-host",
    default="",
    envvar="SHOAL_AGENT_SITE_HOST",
    show_envvar=True,
    help="This device's address on its LAN, to serve artifacts at if the hub names it as its site's cache.",
)
@click.option(
    "--site-port",
    type=click.IntRange(1, LARGEST_PORT),
    default=8471,
    show_default=True,
    envvar="SHOAL_AGENT_SITE_PORT",
    show_envvar=True,
    help="Port of the site's cache.",
)
@handover_host_option
@handover_port_option
@click.option(
    "--send-examples",
    is_flag=True,
    envvar="SHOAL_AGENT_SEND_EXAMPLES",
    show_envvar=True,
    help="Let a few inputs on which two versions disagree leave the device, when a trial in shadow asks for them.",
)
@click.option(
    "--time-zone",
    default="",
    envvar="SHOAL_AGENT_TIME_ZONE",
    show_envvar=True,
    help="IANA name of the zone that maintenance windows are in, such as Europe/Paris; default: the system's.",
)
@probes_option
@reserve_option
@budget_option
@capture_option
@rules_option
@send_option
@priority_option
@soft_option
@hard_option
@batch_folder_option
@send_results_option
@no_benchmarks_option
@features_folder_option
@features_hooks_option
@memory_options
@tracing_option
@click.option(
    "--log-level",
    type=click.Choice(_LOG_LEVELS, case_sensitive=False),
    default="info",
    show_default=True,
    help="debug, info, warning or error.",
)
@readable
def run(
    *,
    data: Path,
    port: int,
    runtimes: tuple[str, ...],
    site_host: str,
    site_port: int,
    handover_host: str,
    handover_port: int,
    send_examples: bool,
    time_zone: str,
    probes_file: Path,
    reserve_mb: int,
    max_models_mb: int,
    may_capture: bool,
    capture_file: Path,
    send_captures: bool,
    shed_soft_c: float | None,
    shed_hard_c: float | None,
    batch_folders: tuple[Path, ...],
    send_batch_results: bool,
    no_benchmarks: bool,
    features_folders: tuple[Path, ...],
    features_hooks: Path | None,
    log_level: str,
    **more: Any,  # noqa: ANN401 - click has checked them
) -> None:
    """Run the agent: serve the model, follow the hub."""
    import logging

    logging.basicConfig(
        level=log_level.upper(), stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    from shoal_agent.late_numpy import numpy_later

    with numpy_later():
        from shoal_agent.daemon import run_agent
    from shoal_agent.idle_settings import BatchJobSettings, BenchmarkSettings
    from shoal_agent.settings import (
        MEGABYTE,
        AgentSettings,
        CaptureSendSettings,
        FeatureSettings,
        HandoverSettings,
        SheddingSettings,
        SiteSettings,
        UpdateSettings,
    )

    settings = AgentSettings(
        data_dir=data,
        places=serving_places(port, more),
        serving=serving_settings(more),
        runtimes=_runtimes(runtimes),
        engines=engine_settings(more),
        site=SiteSettings(host=site_host, port=site_port),
        handover=HandoverSettings(host=handover_host, port=handover_port),
        update=UpdateSettings(reserve_bytes=reserve_mb * MEGABYTE, max_models_bytes=max_models_mb * MEGABYTE),
        shedding=SheddingSettings(soft_c=shed_soft_c, hard_c=shed_hard_c, priorities=more["priorities"]),
        features=FeatureSettings(folders=features_folders, hooks_file=features_hooks),
        memory=memory_settings(more),
        time_zone=time_zone,
        probes_file=probes_file,
        send_examples=send_examples,
        capture_file=capture_file if may_capture else None,
        send_captures=CaptureSendSettings(is_allowed=send_captures),
        batch_jobs=BatchJobSettings(folders=batch_folders, may_send=send_batch_results),
        benchmarks=BenchmarkSettings(is_allowed=not no_benchmarks),
        otlp_endpoint=more["otlp_endpoint"],
    )
    run_agent(settings)


@app.command(epilog="Example: shoal-agent status --json")
@data_option
@json_option
@readable
def status(*, data: Path, as_json: bool) -> None:
    """Show who this device is, what it serves and how, and whether the agent runs."""
    from dataclasses import asdict

    from shoal_agent.clock import Clock
    from shoal_agent.engines.remembered import RememberedSetups
    from shoal_agent.engines.runtimes import warmup_file
    from shoal_agent.errors import DiskError
    from shoal_agent.hold import HoldFile
    from shoal_agent.identity import load_identity
    from shoal_agent.local_endpoint import endpoint_of, is_live
    from shoal_agent.slots import SlotFile, known_models

    identity = load_identity(data / "identity")
    models = {name: SlotFile(data / "models", name).slots for name in known_models(data / "models")}
    remembered = RememberedSetups(warmup_file(data))
    active = {name: slots.active for name, slots in models.items() if slots.active}
    setups = {name: setup for name, slot in active.items() if (setup := remembered.of(slot.sha256))}
    hold = HoldFile(data, Clock(data / "trust" / "clock.json")).read()
    try:
        url = endpoint_of(data)
    except DiskError:
        url = None  # it has never run on this folder
    answer = {
        "version": __version__,
        "device_id": identity.device_id,
        "broker": f"{identity.broker_host}:{identity.broker_port}",
        "endpoint": url,
        "is_running": url is not None and is_live(url),
        "hold": json.loads(hold.model_dump_json()) if hold else None,
        "models": {name: json.loads(slots.model_dump_json(exclude_none=True)) for name, slots in models.items()},
        "setups": {name: asdict(setup) for name, setup in setups.items()},
    }
    if as_json:
        click.echo(json.dumps(answer))
        return
    click.echo(f"device   {identity.device_id}\nbroker   {answer['broker']}")
    click.echo(f"agent    {'runs at ' + str(url) if answer['is_running'] else 'does not run'}")
    if hold:
        click.echo(f"updates  held{hold.said()}; to go on: shoal-agent release")
    for name, slots in models.items():
        _tell_model(name, slots, setups.get(name))


def _tell_model(name: str, slots: "Slots", setup: "EngineSetup | None") -> None:
    serves = f"version {slots.active.version} ({slots.active.target})" if slots.active else "nothing"
    click.echo(f"model    {name}: {serves}")
    if setup is not None:
        click.echo(f"         runs in {setup.said()}")
    if slots.failure:
        problem = slots.failure.problem
        click.echo(f"         last failure: {problem.message}\n         do: {problem.remedy}")


@app.command(epilog="Example: shoal-agent predict digits digit.npy")
@data_option
@click.argument("model", help="The model's name.")
@click.argument("file", type=READABLE_FILE, help="A .npy array or a .json list: one batch of inputs.")
@json_option
@readable
def predict(*, data: Path, model: str, file: Path, as_json: bool) -> None:
    """Ask the running agent for a prediction, through its Open Inference Protocol endpoint."""
    import numpy as np

    from shoal_agent.local_endpoint import ask, endpoint_of

    batch = _read_batch(file)
    url = endpoint_of(data)
    spec = ask(url, "GET", f"/v2/models/{model}")["inputs"][0]
    tensor = {
        "name": spec["name"],
        "datatype": spec["datatype"],
        "shape": list(batch.shape),
        "data": batch.ravel().tolist(),
    }
    answer = ask(url, "POST", f"/v2/models/{model}/infer", {"inputs": [tensor]})
    if as_json:
        click.echo(json.dumps(answer))
        return
    for output in answer["outputs"]:
        rows = np.array(output["data"]).reshape(output["shape"])
        for row in rows.reshape(len(rows), -1):
            click.echo(f"{output['name']}: label {int(row.argmax())} with {float(row.max()):.3f}")


def _read_batch(path: Path) -> "NDArray[Any]":
    import numpy as np

    from shoal_agent.errors import AgentError

    remedy = "give a .npy array or a .json list of numbers"
    try:
        batch = np.load(path, allow_pickle=False) if path.suffix == ".npy" else np.array(json.loads(path.read_text()))
    except (ValueError, EOFError, OSError) as error:
        raise AgentError(f"reading {path}: {error}", remedy) from error
    if batch.dtype.kind not in "biuf" or batch.ndim == 0:
        raise AgentError(f"reading {path}: {batch.dtype} of shape {batch.shape} found, numbers expected", remedy)
    return np.asarray(batch)


def _runtimes(names: tuple[str, ...]) -> "tuple[Runtime, ...]":
    from shoal_agent.errors import AgentError
    from shoal_agent.hardware import available_runtimes

    found = available_runtimes()
    chosen = tuple(runtime for runtime in found if not names or runtime in names)
    if not chosen:
        message = f"choosing a runtime: {', '.join(names) or 'none'} asked for, {', '.join(found) or 'none'} installed"
        raise AgentError(message, "install one: pip install 'shoal[onnx]' or 'shoal[litert]'")
    return chosen


def main() -> None:
    """Run the command line."""
    app()
