"""`shoal approvals`: what waits for other people, the decision on it, and how many a model asks for."""

import json
from typing import Annotated

import typer

from shoal_client.operators import Approval, ApprovalPolicy
from shoal_hub.cli.connection import connect
from shoal_hub.cli.output import AsJson, cell, console, facts, show, table

app = typer.Typer(help="What waits for the approval of other people.", no_args_is_help=True)

ApprovalId = Annotated[str, typer.Argument(metavar="APPROVAL", help="Id of what waits.")]
Comment = Annotated[str, typer.Option(help="Why; it is kept.")]


@app.command("list", epilog="Example: shoal approvals list")
def list_approvals(
    model: Annotated[str, typer.Option(help="Of one model only.")] = "", as_json: AsJson = False
) -> None:
    """List what waits or waited, newest first."""
    with connect() as client:
        found = client.approvals.list(model=model or None)
    rows = [
        (
            one.id,
            one.kind,
            f"{one.model} {one.version}",
            one.state,
            f"{len(one.approvals)} of {one.needed}",
            one.author,
            one.expires_at,
        )
        for one in found
    ]
    columns = ("ID", "KIND", "VERSION", "STATE", "APPROVED", "BY", "EXPIRES")
    show(found, as_json=as_json, draw=lambda: table(columns, rows, empty="Nothing waits for approval."))


@app.command("show", epilog="Example: shoal approvals show ap-abcdefgh")
def show_approval(approval: ApprovalId, as_json: AsJson = False) -> None:
    """Show what exactly is asked for, by whom, and who has approved it."""
    with connect() as client:
        found = client.approvals.show(approval)
    show(found, as_json=as_json, draw=lambda: _draw(found))


@app.command(epilog="Example: shoal approvals approve ap-abcdefgh --comment 'seen the trial'")
def approve(
    approval: ApprovalId,
    comment: Comment = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask; what it stands for now is approved.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what is asked for and approve that and nothing else. The last approval has it done."""
    with connect() as client:
        seen = client.approvals.show(approval)
        if not as_json:
            _draw(seen)
        if not yes:
            typer.confirm(f"Approve {seen.id} ({seen.content_sha256[:16]}…)?", abort=True, err=True)
        found = client.approvals.approve(approval, seen.content_sha256, comment)
    show(found, as_json=as_json, draw=lambda: console.print(_outcome(found)))


@app.command(epilog="Example: shoal approvals reject ap-abcdefgh --comment 'wait for the audit'")
def reject(approval: ApprovalId, comment: Comment = "", as_json: AsJson = False) -> None:
    """End it undone. Its author may, and every approver."""
    with connect() as client:
        found = client.approvals.reject(approval, comment)
    show(found, as_json=as_json, draw=lambda: console.print(_outcome(found)))


@app.command(epilog="Example: shoal approvals policy digits --production 2 --rollout 1")
def policy(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name of the model.")],
    production: Annotated[int | None, typer.Option(help="Approvals for production.", min=0, max=2)] = None,
    rollout: Annotated[int | None, typer.Option(help="Approvals for a rollout.", min=0, max=2)] = None,
    as_json: AsJson = False,
) -> None:
    """Show how many approvals a model asks for, or set it; what is not given stays."""
    with connect() as client:
        found = client.approvals.policy(model)
        if production is not None or rollout is not None:
            wanted = ApprovalPolicy(
                production=found.production if production is None else production,
                rollout=found.rollout if rollout is None else rollout,
            )
            found = client.approvals.set_policy(model, wanted)
    show(found, as_json=as_json, draw=lambda: facts([("production", found.production), ("rollout", found.rollout)]))


def _outcome(found: Approval) -> str:
    missing = found.needed - len(found.approvals)
    return f"{found.id} is {found.state}: {cell(found.outcome or f'{missing} more to approve')}"


def _draw(found: Approval) -> None:
    facts(
        [
            ("approval", found.id),
            ("for", f"{found.kind} of {found.model} version {found.version}"),
            ("by", found.author),
            ("state", found.state),
            ("outcome", found.outcome),
            ("approved", f"{len(found.approvals)} of {found.needed}"),
            ("expires", found.expires_at),
            ("exactly", json.dumps(found.content, indent=2, sort_keys=True)),
            ("hash", found.content_sha256),
        ]
    )
    rows = [(one.name, one.comment, one.at) for one in found.approvals]
    table(("APPROVED BY", "COMMENT", "AT"), rows, empty="Nobody has approved it yet.")
