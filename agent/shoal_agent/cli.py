"""The agent's own command line, `shoal-agent`: enrol, run, status, predict, data."""

import functools
import http.client
import json
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec, TypeVar
from urllib.parse import urlsplit

import anyio
import typer

from shoal_agent.errors import AgentError, DiskError
from shoal_agent.settings import AgentSettings
from shoal_contract import __version__
from shoal_contract.reported import Runtime

if TYPE_CHECKING:
    from numpy.typing import NDArray

app = typer.Typer(
    help="Shoal's agent on this device.", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)
data_app = typer.Typer(help="Labelled examples for federated rounds; they never leave this device.")
app.add_typer(data_app, name="data")
P = ParamSpec("P")
R = TypeVar("R")


def _default_data_dir() -> Path:
    """/var/lib/shoal-agent for root, else under the user's own data folder."""
    if os.geteuid() == 0:
        return Path("/var/lib/shoal-agent")
    return Path.home() / ".local/share/shoal-agent"


DataDir = Annotated[
    Path,
    typer.Option(
        "--data", envvar="SHOAL_AGENT_DATA", help="The agent's data folder.", default_factory=_default_data_dir
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


def _readable(command: Callable[P, R]) -> Callable[P, R]:
    """Print an AgentError as two lines, what and what to do, and exit with 1."""

    @functools.wraps(command)
    def run(*arguments: P.args, **options: P.kwargs) -> R:
        try:
            return command(*arguments, **options)
        except AgentError as error:
            typer.echo(f"error: {error}\n  do: {error.remedy}", err=True)
            raise typer.Exit(1) from error

    return run


@app.command(epilog="Example: shoal-agent enrol --hub https://hub:8443 --token-file token.txt --name cam-7")
@_readable
def enrol(
    data: DataDir,
    hub: Annotated[str, typer.Option(help="The hub's address, https://host:port.", envvar="SHOAL_HUB")],
    token: Annotated[str, typer.Option(help="The one-time token; better given as SHOAL_TOKEN.", envvar="SHOAL_TOKEN")]
    = "",
    token_file: Annotated[
        Path | None, typer.Option(help="A file that holds the token.", exists=True, dir_okay=False)
    ] = None,
    name: Annotated[str, typer.Option(help="A label for people; the hub makes the id.")] = "",
    *,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Enrol this device at a hub with a one-time token. Does nothing where it is enrolled already."""
    from shoal_agent.enrol import enrol as enrol_device

    text = token_file.read_text() if token_file else token
    identity = enrol_device(data / "identity", hub, text, name or os.uname().nodename)
    answer = {"device_id": identity.device_id, "broker": f"{identity.broker_host}:{identity.broker_port}"}
    if as_json:
        typer.echo(json.dumps(answer))
    else:
        typer.echo(f"enrolled as {identity.device_id}; now run: shoal-agent run --data {data}")


@app.command(epilog="Example: shoal-agent run --port 8080")
@_readable
def run(
    data: DataDir,
    port: Annotated[int, typer.Option(help="Port of the local inference endpoint; 0 takes a free one.")] = 8080,
    runtime: Annotated[
        list[str] | None, typer.Option(help="Use this runtime only (onnxruntime, litert); default: what is installed.")
    ] = None,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
) -> None:
    """Run the agent: serve the model, follow the hub."""
    logging.basicConfig(
        level=log_level.upper(), stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    from shoal_agent.daemon import Agent

    settings = AgentSettings(data_dir=data, port=port, runtimes=_runtimes(runtime or []))
    anyio.run(Agent(settings).run)


@app.command(epilog="Example: shoal-agent status --json")
@_readable
def status(data: DataDir, *, as_json: AsJson = False) -> None:
    """Show who this device is, what it serves and whether the agent runs."""
    from shoal_agent.identity import load_identity
    from shoal_agent.slots import SlotFile, known_models

    identity = load_identity(data / "identity")
    models = {name: SlotFile(data / "models", name).slots for name in known_models(data / "models")}
    try:
        url = _endpoint(data)
    except DiskError:
        url = None  # it has never run on this folder
    answer = {
        "version": __version__,
        "device_id": identity.device_id,
        "broker": f"{identity.broker_host}:{identity.broker_port}",
        "endpoint": url,
        "is_running": url is not None and _is_live(url),
        "models": {name: json.loads(slots.model_dump_json(exclude_none=True)) for name, slots in models.items()},
    }
    if as_json:
        typer.echo(json.dumps(answer))
        return
    typer.echo(f"device   {identity.device_id}\nbroker   {answer['broker']}")
    typer.echo(f"agent    {'runs at ' + str(url) if answer['is_running'] else 'does not run'}")
    for name, slots in models.items():
        active = f"version {slots.active.version} ({slots.active.target})" if slots.active else "nothing"
        typer.echo(f"model    {name}: {active}")
        if slots.failure:
            typer.echo(
                f"         last failure: {slots.failure.problem.message}\n         do: {slots.failure.problem.remedy}"
            )


@app.command(epilog="Example: shoal-agent predict digits digit.npy")
@_readable
def predict(
    data: DataDir,
    model: Annotated[str, typer.Argument(help="The model's name.")],
    file: Annotated[
        Path, typer.Argument(help="A .npy array or a .json list: one batch of inputs.", exists=True, dir_okay=False)
    ],
    *,
    as_json: AsJson = False,
) -> None:
    """Ask the running agent for a prediction, through its Open Inference Protocol endpoint."""
    import numpy as np

    batch = _read_batch(file)
    url = _endpoint(data)
    spec = _ask(url, "GET", f"/v2/models/{model}")["inputs"][0]
    tensor = {
        "name": spec["name"],
        "datatype": spec["datatype"],
        "shape": list(batch.shape),
        "data": batch.ravel().tolist(),
    }
    answer = _ask(url, "POST", f"/v2/models/{model}/infer", {"inputs": [tensor]})
    if as_json:
        typer.echo(json.dumps(answer))
        return
    for output in answer["outputs"]:
        rows = np.array(output["data"]).reshape(output["shape"])
        for row in rows.reshape(len(rows), -1):
            typer.echo(f"{output['name']}: label {int(row.argmax())} with {float(row.max()):.3f}")


@data_app.command("add", epilog="Example: shoal-agent data add digits labelled.npz")
@_readable
def data_add(
    data: DataDir,
    name: Annotated[str, typer.Argument(help="The dataset's name, as federated runs ask for it.")],
    file: Annotated[Path, typer.Argument(help="An .npz with x (n, ...) and y (n,).", exists=True, dir_okay=False)],
) -> None:
    """Keep labelled examples on this device for federated rounds."""
    from shoal_agent.federated import Datasets

    count = Datasets(data / "datasets").add(name, file)
    typer.echo(f"dataset {name}: {count} labelled examples, kept on this device")


@data_app.command("list", epilog="Example: shoal-agent data list --json")
@_readable
def data_list(data: DataDir, *, as_json: AsJson = False) -> None:
    """List the datasets on this device."""
    from shoal_agent.federated import Datasets

    sizes = Datasets(data / "datasets").sizes()
    if as_json:
        typer.echo(json.dumps(sizes))
        return
    for name, count in sizes.items():
        typer.echo(f"{name}: {count} labelled examples")
    if not sizes:
        typer.echo("no datasets yet; add one with: shoal-agent data add NAME FILE.npz")


def _read_batch(path: Path) -> "NDArray[Any]":
    import numpy as np

    remedy = "give a .npy array or a .json list of numbers"
    try:
        batch = np.load(path, allow_pickle=False) if path.suffix == ".npy" else np.array(json.loads(path.read_text()))
    except (ValueError, EOFError, OSError) as error:
        raise AgentError(f"reading {path}: {error}", remedy) from error
    if batch.dtype.kind not in "biuf" or batch.ndim == 0:
        raise AgentError(f"reading {path}: {batch.dtype} of shape {batch.shape} found, numbers expected", remedy)
    return np.asarray(batch)


def _runtimes(names: list[str]) -> tuple[Runtime, ...]:
    from shoal_agent.hardware import available_runtimes

    found = available_runtimes()
    chosen = tuple(runtime for runtime in found if not names or runtime in names)
    if not chosen:
        message = f"choosing a runtime: {', '.join(names) or 'none'} asked for, {', '.join(found) or 'none'} installed"
        raise AgentError(message, "install one: pip install 'shoal[onnx]' or 'shoal[litert]'")
    return chosen


def _endpoint(data: Path) -> str:
    path = data / "run" / "endpoint.json"
    try:
        return str(json.loads(path.read_text())["url"])
    except (OSError, ValueError, KeyError) as error:
        raise DiskError(f"looking for the agent's endpoint in {path}: {error}", "start it: shoal-agent run") from error


def _is_live(url: str) -> bool:
    try:
        return bool(_ask(url, "GET", "/v2/health/live")["live"])
    except AgentError:
        return False


def _ask(url: str, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 - JSON
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "127.0.0.1", parts.port, timeout=30)
    try:
        connection.request(method, path, json.dumps(body) if body is not None else None)
        response = connection.getresponse()
        answer = json.loads(response.read())
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise AgentError(f"asking the agent at {url}: {error}", "is it running? start it: shoal-agent run") from error
    finally:
        connection.close()
    if response.status != http.client.OK:
        raise AgentError(f"asking the agent at {url}{path}: {answer.get('error', answer)}", "correct the input")
    return answer


def main() -> None:
    """Run the command line."""
    app()
