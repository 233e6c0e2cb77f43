"""`shoal models`: the registry."""

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

from shoal_client.registry import ModelDetail, RolloutPolicy, Stage, VersionDetail
from shoal_hub.cli import model_records
from shoal_hub.cli.connection import connect
from shoal_hub.cli.jobs import wait
from shoal_hub.cli.output import AsJson, console, errors, facts, print_json, show, size_text, table

app = typer.Typer(help="Models, their versions and their variants.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="MODEL", help="Name of the model.")]
Number = Annotated[int, typer.Argument(metavar="VERSION", help="Number of the version.", min=1)]


@app.command("list", epilog="Example: shoal models list")
def list_models(as_json: AsJson = False) -> None:
    """List models."""
    with connect() as client:
        models = client.models.list()
    rows = [(one.name, one.versions, one.latest, one.production, one.description) for one in models]
    columns = ("MODEL", "VERSIONS", "LATEST", "PRODUCTION", "DESCRIPTION")
    empty = "There is no model. Register one: shoal models register FOLDER"
    show(models, as_json=as_json, draw=lambda: table(columns, rows, empty=empty))


@app.command("show", epilog="Example: shoal models show digits production")
def show_model(
    model: Name,
    version: Annotated[str | None, typer.Argument(help="Number, latest, stage or alias.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show a model with its versions, or one version with its variants."""
    with connect() as client:
        if version is None:
            found = client.models.show(model)
            show(found, as_json=as_json, draw=lambda: _draw_model(found))
        else:
            one = client.models.version(model, version)
            show(one, as_json=as_json, draw=lambda: _draw_version(one))


@app.command(epilog="Example: shoal models register build/digits --alias candidate")
def register(
    folder: Annotated[Path, typer.Argument(help="The bundle's folder.", exists=True, file_okay=False)],
    description: Annotated[str, typer.Option(help="Of the model, where it is new.")] = "",
    alias: Annotated[list[str] | None, typer.Option(help="An alias for the new version; may be repeated.")] = None,
    parent: Annotated[int | None, typer.Option(help="The version that this one was made from.", min=1)] = None,
    encrypted: Annotated[bool, typer.Option("--encrypted", help="Let it leave the hub encrypted only.")] = False,
    as_json: AsJson = False,
) -> None:
    """Register the next version of a model from a bundle folder."""
    columns = (TextColumn("sending"), BarColumn(), DownloadColumn())
    with connect() as client, Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as bar:
        task = bar.add_task("sending")
        version = client.models.register_bundle(
            folder,
            lambda sent, total: bar.update(task, completed=sent, total=total),
            description=description,
            aliases=alias or (),
            parent_version=parent,
            is_encrypted=encrypted,
        )
    show(version, as_json=as_json, draw=lambda: _draw_version(version))


@app.command(epilog="Example: shoal models encrypt digits 3")
def encrypt(
    model: Name,
    version: Annotated[
        int | None, typer.Argument(metavar="[VERSION]", help="Number of a version that was not rolled out yet.", min=1)
    ] = None,
    new_versions: Annotated[
        bool | None,
        typer.Option("--new-versions/--no-new-versions", help="Encrypt what is registered from now on, or do not."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Have a version leave the hub encrypted, so that only the devices it is meant for can read it."""
    if version is None and new_versions is None:
        raise typer.BadParameter("give a VERSION, or --new-versions for those to come", param_hint="VERSION")
    with connect() as client:
        if new_versions is not None:
            policy = client.models.encrypt_new_versions(model, is_on=new_versions)
        if version is not None:
            found = client.models.encrypt(model, version)
            show(found, as_json=as_json, draw=lambda: _draw_version(found))
        else:
            show(policy, as_json=as_json, draw=lambda: _draw_model(policy))


@app.command(epilog="Example: shoal models compress digits 1")
def compress(
    model: Name,
    version: Number,
    technique: Annotated[
        list[str] | None, typer.Option(help="A variant to make; may be repeated. All without it.")
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Do not wait for the job.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make variants of a version for devices, in a job, and show their size, accuracy and latency."""
    with connect() as client:
        job = client.models.compress(model, version, technique or ())
        if detach:
            show(job, as_json=as_json, draw=lambda: console.print(f"{job.id} is queued: shoal jobs show {job.id}"))
            return
        wait(client, job.id)
        made = client.models.version(model, version)
    show(made, as_json=as_json, draw=lambda: _draw_variants(made))


@app.command(epilog="Example: shoal models promote digits 2 production --comment 'passed the trial'")
def promote(
    model: Name,
    version: Number,
    stage: Annotated[str, typer.Argument(help="none, staging, production or archived.")],
    comment: Annotated[str, typer.Option(help="Why; kept in the history.")] = "",
    as_json: AsJson = False,
) -> None:
    """Move a version to a stage. Production archives the former one and starts the model's rollout, if it has one."""
    target: Stage = _stage(stage)
    with connect() as client:
        moved = client.models.move(model, version, target, comment)
    if as_json:
        print_json(moved)
        return
    console.print(f"{model} version {version} is now {moved.version.stage}")
    if moved.rollout:
        console.print(f"Rollout {moved.rollout} has started: shoal rollouts watch {moved.rollout}")


@app.command(epilog="Example: shoal models history digits 1")
def history(model: Name, version: Number, as_json: AsJson = False) -> None:
    """Show a version's way through the stages: who, when, from where, why."""
    with connect() as client:
        moves = client.models.history(model, version)
    rows = [(one.at.isoformat(timespec="seconds"), one.by, one.from_stage, one.to_stage, one.comment) for one in moves]
    columns = ("AT", "BY", "FROM", "TO", "COMMENT")
    empty = f"It has not been moved. Move it: shoal models promote {model} {version} staging"
    show(moves, as_json=as_json, draw=lambda: table(columns, rows, empty=empty))


@app.command(epilog="Example: shoal models alias digits champion 2")
def alias(
    model: Name,
    alias: Annotated[str, typer.Argument(help="The alias.")],
    version: Number,
    as_json: AsJson = False,
) -> None:
    """Point an alias at a version."""
    with connect() as client:
        found = client.models.set_alias(model, alias, version)
    show(found, as_json=as_json, draw=lambda: console.print(f"{alias} is version {found.number} of {model}"))


@app.command(epilog="Example: shoal models policy digits --waves 1,5 --max-failures 1")
def policy(
    model: Name,
    waves: Annotated[str, typer.Option(help="Devices in each wave, like 1,5; the remainder joins the last.")] = "",
    max_failures: Annotated[int, typer.Option(help="Failed devices before it is aborted.", min=0)] = 0,
    timeout_s: Annotated[float, typer.Option(help="Seconds that one device may take.", min=1)] = 600.0,
    off: Annotated[bool, typer.Option("--off", help="Start no rollout any more.")] = False,
    as_json: AsJson = False,
) -> None:
    """Set the rollout that starts when a version becomes production."""
    chosen = None if off else RolloutPolicy(waves=parse_waves(waves), max_failures=max_failures, timeout_s=timeout_s)
    with connect() as client:
        found = client.models.set_policy(model, chosen)
    show(found, as_json=as_json, draw=lambda: _draw_model(found))


app.command(epilog="Example: shoal models card digits 1 --output card.md")(model_records.card)
app.command(epilog="Example: shoal models bom digits 1 --output digits.cdx.json")(model_records.bom)
app.command(epilog="Example: shoal models provenance digits 1")(model_records.provenance)
app.command(epilog="Example: shoal models compliance digits 1 --framework nist-ai-rmf --output report.md")(
    model_records.compliance
)


def parse_waves(text: str) -> list[int]:
    """Return the counts of `1,2,10`.

    Raises:
        typer.BadParameter: It is not a list of whole numbers.
    """
    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is not a list of counts like 1,2,10", param_hint="--waves") from error


def _stage(text: str) -> Stage:
    if text not in {"none", "staging", "production", "archived"}:
        raise typer.BadParameter(
            f"{text!r} is no stage; take none, staging, production or archived", param_hint="STAGE"
        )
    return text  # type: ignore[return-value]  # just checked


def _draw_model(model: ModelDetail) -> None:
    policy = model.rollout_on_production
    facts(
        [
            ("model", model.name),
            ("description", model.description),
            ("aliases", model.aliases),
            ("new versions", "encrypted" if model.encrypt_versions else "not encrypted"),
            ("on production", f"rollout in waves {policy.waves or 'all at once'}" if policy else "no rollout"),
        ]
    )
    rows = [(one.number, one.stage, one.metrics, one.targets, one.author, one.created_at) for one in model.version_list]
    table(("VERSION", "STAGE", "METRICS", "TARGETS", "AUTHOR", "REGISTERED"), rows, empty="It has no version.")


def _draw_version(version: VersionDetail) -> None:
    facts(
        [
            ("version", f"{version.model} {version.number}"),
            ("stage", version.stage),
            ("encrypted", "yes: devices get its file as ciphertext" if version.is_encrypted else "no"),
            ("aliases", version.aliases),
            ("algorithm", version.algorithm),
            ("framework", version.framework),
            ("author", version.author),
            ("metrics", version.metrics),
            ("parameters", version.parameters),
            ("tags", version.tags),
            ("licence", version.licence),
            ("warnings", version.warnings),
            ("inputs", [f"{one.name} {one.datatype}{one.shape}" for one in version.inputs]),
            ("outputs", [f"{one.name} {one.datatype}{one.shape}" for one in version.outputs]),
            ("a request", "is one sample" if version.batching == "none" else "holds any number of samples"),
            ("parent", version.provenance.parent_version),
            ("federated run", version.provenance.federated_run),
            ("data", version.provenance.data_sha256[:16]),
            ("registered", f"{version.created_at:%Y-%m-%d %H:%M} UTC by {version.created_by}"),
        ]
    )
    _draw_variants(version)


def _draw_variants(version: VersionDetail) -> None:
    rows = [
        (
            one.target,
            one.runtime,
            one.precision,
            size_text(one.size_bytes),
            one.accuracy,
            one.latency_p50_ms,
            one.latency_p95_ms,
        )
        for one in version.variants
    ]
    columns = ("TARGET", "RUNTIME", "PRECISION", "SIZE", "ACCURACY", "P50 ms", "P95 ms")
    table(columns, rows, empty=f"No device can run it yet: shoal models compress {version.model} {version.number}")
