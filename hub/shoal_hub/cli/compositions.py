"""`shoal compositions`: ensembles and cascades of models, kept at the hub and assigned to groups and devices."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from shoal_client import ClientError
from shoal_client.compositions import Composition, CompositionDevice
from shoal_hub.cli.connection import connect, find_device
from shoal_hub.cli.object_file import read_object
from shoal_hub.cli.output import AsJson, console, facts, show, table
from shoal_hub.cli.targets import Devices, Groups, chosen_targets, target_texts

app = typer.Typer(
    help="Compositions: ensembles and cascades of models, asked under a name of their own.", no_args_is_help=True
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the composition.")]
File = Annotated[
    Path | None,
    typer.Argument(metavar="[FILE]", help="Its form as JSON, or TOML where it ends in .toml; - for JSON from stdin."),
]
Members = Annotated[
    list[str] | None,
    typer.Option("--member", metavar="MODEL[:WEIGHT]", help="A model of an ensemble. May be given several times."),
]
Combine = Annotated[
    Literal["weighted_mean", "mean", "vote"] | None, typer.Option(help="How an ensemble's answers are combined.")
]
Stages = Annotated[
    list[str] | None,
    typer.Option(
        "--stage",
        metavar="MODEL[:CONFIDENCE]",
        help="A model of a cascade, the cheap ones first; all but the last with the confidence from which on its "
        "answer is taken. May be given several times.",
    ),
]
Output = Annotated[
    str | None, typer.Option(help="The output that is combined, or that has the probabilities; the first without.")
]


@app.command(epilog="Example: shoal compositions create faces --stage faces-small:0.9 --stage faces-large --group shop")
def create(
    name: Name,
    file: File = None,
    member: Members = None,
    combine: Combine = None,
    stage: Stages = None,
    output: Output = None,
    group: Groups = None,
    device: Devices = None,
    as_json: AsJson = False,
) -> None:
    """Compose models under a name of their own, and have groups and devices serve it."""
    form = _form(file, member, combine, stage, output)
    with connect() as client:
        ids = [find_device(client, one).id for one in device or ()]
        made = client.compositions.create(name, form, groups=group or (), device_ids=ids)
    show(made, as_json=as_json, draw=lambda: _draw(made))


@app.command(epilog="Example: shoal compositions change faces --stage faces-small:0.95 --stage faces-large")
def change(
    name: Name,
    file: File = None,
    member: Members = None,
    combine: Combine = None,
    stage: Stages = None,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Give a composition another form, as its next version; the devices that serve it are told."""
    form = _form(file, member, combine, stage, output)
    with connect() as client:
        made = client.compositions.change(name, form)
    show(made, as_json=as_json, draw=lambda: _draw(made))


@app.command("list", epilog="Example: shoal compositions list")
def list_compositions(as_json: AsJson = False) -> None:
    """List compositions by name, of what they are made, and whom they are assigned to."""
    with connect() as client:
        found = client.compositions.list()
    rows = [
        (one.name, one.version, one.form["kind"], one.models, _targets(one), one.device_count, one.set_by, one.set_at)
        for one in found
    ]
    columns = ("NAME", "VERSION", "KIND", "MODELS", "ASSIGNED TO", "DEVICES", "BY", "SET")
    empty = "No compositions yet: shoal compositions create"
    show(found, as_json=as_json, draw=lambda: table(columns, rows, empty=empty))


@app.command("show", epilog="Example: shoal compositions show faces")
def show_composition(name: Name, as_json: AsJson = False) -> None:
    """Show what a composition is, whom it is assigned to, and how its devices are with it."""
    with connect() as client:
        found = client.compositions.show(name)
        devices = [] if as_json else list(client.compositions.devices(name))

    def draw() -> None:
        _draw(found)
        _draw_devices(name, devices)

    show(found, as_json=as_json, draw=draw)


@app.command(epilog="Example: shoal compositions status faces")
def status(name: Name, as_json: AsJson = False) -> None:
    """Show which devices serve a composition, which do not, and with which problem."""
    with connect() as client:
        found = list(client.compositions.devices(name))
    show(found, as_json=as_json, draw=lambda: _draw_devices(name, found))


@app.command(epilog="Example: shoal compositions assign faces --group shop --device kitchen")
def assign(name: Name, group: Groups = None, device: Devices = None, as_json: AsJson = False) -> None:
    """Have devices serve a composition: those of groups, whoever is in them at the time, and devices by themselves."""
    with connect() as client:
        for target in chosen_targets(client, group, device):
            client.compositions.assign(name, **target)
        found = client.compositions.show(name)
    show(found, as_json=as_json, draw=lambda: _draw(found))


@app.command(epilog="Example: shoal compositions unassign faces --group shop")
def unassign(name: Name, group: Groups = None, device: Devices = None, as_json: AsJson = False) -> None:
    """Take a composition away from groups and devices."""
    with connect() as client:
        for target in chosen_targets(client, group, device):
            client.compositions.unassign(name, **target)
        found = client.compositions.show(name)
    show(found, as_json=as_json, draw=lambda: _draw(found))


@app.command(epilog="Example: shoal compositions remove faces")
def remove(name: Name, as_json: AsJson = False) -> None:
    """Forget a composition; its devices cease to serve it, and its members stay."""
    with connect() as client:
        found = client.compositions.remove(name)
    show(found, as_json=as_json, draw=lambda: console.print(f"the composition {found.name} is no more"))


def _form(
    file: Path | None, members: list[str] | None, combine: str | None, stages: list[str] | None, output: str | None
) -> dict[str, Any]:
    """Return the form that a command line gives, by a file or by options."""
    if sum(map(bool, (file, members, stages))) != 1:
        raise ClientError(
            "what to compose is said in no way, or in several", "give a FILE, or --member for each, or --stage for each"
        )
    if (combine is not None and not members) or (output is not None and file is not None):
        raise ClientError("--combine is for --member, and --output for --member and --stage", "leave it out")
    if file is not None:
        form = read_object(file, "several models")
        return form["form"] if isinstance(form.get("form"), dict) else form
    beside = {"output": output} if output is not None else {}
    if stages:
        return {"kind": "cascade", "stages": [_part(one, "confidence") for one in stages], **beside}
    combined = {"combine": combine} if combine is not None else {}
    return {"kind": "ensemble", "members": [_part(one, "weight") for one in members or ()], **combined, **beside}


def _part(text: str, called: str) -> dict[str, Any]:
    """Return a member of `MODEL` or `MODEL:NUMBER`."""
    model, colon, number = text.partition(":")
    if not colon:
        return {"model": model}
    try:
        return {"model": model, called: float(number)}
    except ValueError as error:
        raise ClientError(
            f"reading {text}: {number or 'nothing'} found, expected a number as its {called}",
            f"write it like {model}:0.9",
        ) from error


def _targets(found: Composition) -> list[str]:
    return target_texts(found.groups, found.devices)


def _draw(found: Composition) -> None:
    form = found.form
    about: list[tuple[str, object]] = [("name", found.name), ("version", found.version), ("kind", form["kind"])]
    if form["kind"] == "ensemble":
        about.append(("combine", form["combine"]))
    about += [("output", form["output"]), ("assigned to", _targets(found)), ("devices", found.device_count)]
    facts(about)
    called = "weight" if form["kind"] == "ensemble" else "confidence"
    parts = form["members"] if form["kind"] == "ensemble" else form["stages"]
    rows = [(one["model"], one[called], one["inputs"], one["outputs"]) for one in parts]
    table(("MODEL", called.upper(), "INPUTS", "OUTPUTS"), rows, empty="")


def _draw_devices(name: str, found: list[CompositionDevice]) -> None:
    rows = [
        (
            one.name,
            one.id,
            one.presence,
            one.version,
            one.state.replace("_", " "),
            one.left_out or (f"{one.problem.message}; {one.problem.remedy}" if one.problem else ""),
        )
        for one in found
    ]
    columns = ("DEVICE", "ID", "PRESENCE", "VERSION", "STATE", "PROBLEM")
    table(columns, rows, empty=f"No device has it yet: shoal compositions assign {name}")
