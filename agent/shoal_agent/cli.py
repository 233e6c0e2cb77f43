"""The agent's own command line, `shoal-agent`: enrol, key, identity, run, status, predict, data, tuf.

It starts with click and the standard library alone; each command imports what it needs.
"""

import functools
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import click

from shoal_agent.tuf.cli import tuf_group

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from shoal_contract.enrolment import EnrolmentPending
    from shoal_contract.reported import Runtime

P = ParamSpec("P")
R = TypeVar("R")
_READABLE_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_LOG_LEVELS = ("debug", "info", "warning", "error")
_LARGEST_PORT = 65535


def _default_data_dir() -> Path:
    """/var/lib/shoal-agent for root, else under the user's own data folder."""
    if os.geteuid() == 0:
        return Path("/var/lib/shoal-agent")
    return Path.home() / ".local/share/shoal-agent"


_data_option = click.option(
    "--data",
    type=click.Path(path_type=Path),
    envvar="SHOAL_AGENT_DATA",
    show_envvar=True,
    default=_default_data_dir,
    show_default="/var/lib/shoal-agent for root, else ~/.local/share/shoal-agent",
    help="The agent's data folder.",
)
_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")


def _readable(command: Callable[P, R]) -> Callable[P, R]:
    """Print an AgentError as two lines, what and what to do, and exit with 1."""

    @functools.wraps(command)
    def run(*arguments: P.args, **options: P.kwargs) -> R:
        from shoal_agent.errors import AgentError

        try:
            return command(*arguments, **options)
        except AgentError as error:
            click.echo(f"error: {error}\n  do: {error.remedy}", err=True)
            raise SystemExit(1) from error

    return run


@click.group(context_settings={"max_content_width": 120})
def app() -> None:
    """Shoal's agent on this device."""


@app.command(epilog="Example: shoal-agent enrol --hub https://hub:8443 --token-file token.txt --name cam-7")
@_data_option
@click.option(
    "--hub", required=True, envvar="SHOAL_HUB", show_envvar=True, help="The hub's address, https://host:port."
)
@click.option(
    "--token",
    default="",
    envvar="SHOAL_TOKEN",
    show_envvar=True,
    help="The one-time token; better given as SHOAL_TOKEN.",
)
@click.option("--token-file", type=_READABLE_FILE, help="A file that holds the token.")
@click.option("--name", default="", help="A label for people; the hub makes the id.")
@click.option("--ca-sha256", default="", help="Without a token: the fingerprint of the hub's CA.")
@click.option("--wait-s", type=float, default=None, help="Without a token: how long to wait for an operator at most.")
@_json_option
@_readable
def enrol(
    *,
    data: Path,
    hub: str,
    token: str,
    token_file: Path | None,
    name: str,
    ca_sha256: str,
    wait_s: float | None,
    as_json: bool,
) -> None:
    """Enrol this device at a hub: with a one-time token, or by its key. Does nothing where it is enrolled already.

    Without a token the hub knows the key already (`shoal devices authorise`), or an operator accepts it while the
    device waits (`shoal devices pending`).
    """
    import math

    from shoal_agent.enrol import Waiting
    from shoal_agent.enrol import enrol as enrol_device

    text = token_file.read_text() if token_file else token
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


@app.command(epilog="Example: shoal-agent key")
@_data_option
@_json_option
@_readable
def key(*, data: Path, as_json: bool) -> None:
    """Print the fingerprint of this device's key, by which a hub can know it; the first call makes the key."""
    from shoal_agent.identity import load_or_make_key
    from shoal_contract.device_signature import device_key_id

    fingerprint = device_key_id(load_or_make_key(data / "identity").public_key())
    click.echo(json.dumps({"key_sha256": fingerprint}) if as_json else fingerprint)


@app.command(epilog="Example: shoal-agent run --port 8080")
@_data_option
@click.option(
    "--port",
    type=click.IntRange(0, _LARGEST_PORT),
    default=8080,
    show_default=True,
    help="Port of the local inference endpoint; 0 takes a free one.",
)
@click.option(
    "--runtime",
    "runtimes",
    multiple=True,
    help="Use this runtime only (onnxruntime, litert); default: what is installed. May be given several times.",
)
@click.option(
    "--site-host",
    default="",
    envvar="SHOAL_AGENT_SITE_HOST",
    show_envvar=True,
    help="This device's address on its LAN, to serve artifacts at if the hub names it as its site's cache.",
)
@click.option(
    "--site-port",
    type=click.IntRange(1, _LARGEST_PORT),
    default=8471,
    show_default=True,
    envvar="SHOAL_AGENT_SITE_PORT",
    show_envvar=True,
    help="Port of the site's cache.",
)
@click.option(
    "--log-level",
    type=click.Choice(_LOG_LEVELS, case_sensitive=False),
    default="info",
    show_default=True,
    help="debug, info, warning or error.",
)
@_readable
def run(*, data: Path, port: int, runtimes: tuple[str, ...], site_host: str, site_port: int, log_level: str) -> None:
    """Run the agent: serve the model, follow the hub."""
    import logging

    logging.basicConfig(
        level=log_level.upper(), stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    import anyio

    from shoal_agent.daemon import Agent
    from shoal_agent.settings import AgentSettings, SiteSettings

    site = SiteSettings(host=site_host, port=site_port)
    settings = AgentSettings(data_dir=data, port=port, runtimes=_runtimes(runtimes), site=site)
    anyio.run(Agent(settings).run)


@app.command(epilog="Example: shoal-agent status --json")
@_data_option
@_json_option
@_readable
def status(*, data: Path, as_json: bool) -> None:
    """Show who this device is, what it serves and whether the agent runs."""
    from shoal_agent.errors import DiskError
    from shoal_agent.identity import load_identity
    from shoal_agent.local_endpoint import endpoint_of, is_live
    from shoal_agent.slots import SlotFile, known_models
    from shoal_contract import __version__

    identity = load_identity(data / "identity")
    models = {name: SlotFile(data / "models", name).slots for name in known_models(data / "models")}
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
        "models": {name: json.loads(slots.model_dump_json(exclude_none=True)) for name, slots in models.items()},
    }
    if as_json:
        click.echo(json.dumps(answer))
        return
    click.echo(f"device   {identity.device_id}\nbroker   {answer['broker']}")
    click.echo(f"agent    {'runs at ' + str(url) if answer['is_running'] else 'does not run'}")
    for name, slots in models.items():
        active = f"version {slots.active.version} ({slots.active.target})" if slots.active else "nothing"
        click.echo(f"model    {name}: {active}")
        if slots.failure:
            click.echo(
                f"         last failure: {slots.failure.problem.message}\n         do: {slots.failure.problem.remedy}"
            )


@app.command(epilog="Example: shoal-agent predict digits digit.npy")
@_data_option
@click.argument("model", help="The model's name.")
@click.argument("file", type=_READABLE_FILE, help="A .npy array or a .json list: one batch of inputs.")
@_json_option
@_readable
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


app.add_command(tuf_group)


@app.group("data")
def data_group() -> None:
    """Labelled examples for federated rounds; they never leave this device."""


@data_group.command("add", epilog="Example: shoal-agent data add digits labelled.npz")
@_data_option
@click.argument("name", help="The dataset's name, as federated runs ask for it.")
@click.argument("file", type=_READABLE_FILE, help="An .npz with x (n, ...) and y (n,).")
@_readable
def data_add(*, data: Path, name: str, file: Path) -> None:
    """Keep labelled examples on this device for federated rounds."""
    from shoal_agent.federated import Datasets

    count = Datasets(data / "datasets").add(name, file)
    click.echo(f"dataset {name}: {count} labelled examples, kept on this device")


@data_group.command("list", epilog="Example: shoal-agent data list --json")
@_data_option
@_json_option
@_readable
def data_list(*, data: Path, as_json: bool) -> None:
    """List the datasets on this device."""
    from shoal_agent.federated import Datasets

    sizes = Datasets(data / "datasets").sizes()
    if as_json:
        click.echo(json.dumps(sizes))
        return
    for name, count in sizes.items():
        click.echo(f"{name}: {count} labelled examples")
    if not sizes:
        click.echo("no datasets yet; add one with: shoal-agent data add NAME FILE.npz")


@app.group("identity", invoke_without_command=True, epilog="Example: shoal-agent identity --json")
@_data_option
@_json_option
@click.pass_context
@_readable
def identity_group(context: click.Context, *, data: Path, as_json: bool) -> None:
    """Show who this device is: its id, certificate and keys; or replace one of them."""
    if context.invoked_subcommand is not None:
        return
    from shoal_agent.identity import describe

    facts = describe(data / "identity")
    if as_json:
        click.echo(json.dumps(facts))
        return
    for name, value in facts.items():
        click.echo(f"{name:22} {value}")


@identity_group.command(
    "rotate-encryption-key", epilog="Example: systemctl stop shoal-agent && shoal-agent identity rotate-encryption-key"
)
@_data_option
@_json_option
@_readable
def rotate_encryption_key(*, data: Path, as_json: bool) -> None:
    """Replace the key that opens encrypted versions, and take the stored ones over to it. The agent must not run."""
    from contextlib import closing
    from datetime import datetime, timezone

    from shoal_agent.folder_lock import only_one
    from shoal_agent.identity import load_identity
    from shoal_agent.key_rotation import rotate_encryption_key as rotate
    from shoal_agent.outbox import Outbox
    from shoal_agent.settings import OutboxSettings
    from shoal_contract.telemetry import EncryptionKeyReplaced

    identity = load_identity(data / "identity")
    with only_one(data), closing(Outbox(data / "outbox.sqlite", OutboxSettings())) as outbox:

        def tell(public_hex: str) -> None:
            outbox.put_event(EncryptionKeyReplaced(encryption_key=public_hex), datetime.now(timezone.utc))

        key = rotate(data, identity.device_id, tell)
    if as_json:
        click.echo(json.dumps({"device_id": identity.device_id, "encryption_key": key.public_hex}))
    else:
        click.echo(f"the encryption key is now {key.public_hex}; start the agent: it tells the hub")


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
