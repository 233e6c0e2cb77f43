"""`shoal automation`: policies that watch and act, what they would have done, and why each run took each step."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from shoal_client import ClientError, ShoalClient
from shoal_client.automation import AutomationPolicyDetail, AutomationRun, AutomationRunDetail, DryRun
from shoal_hub.cli.connection import connect
from shoal_hub.cli.object_file import read_object
from shoal_hub.cli.output import AsJson, cell, console, facts, print_line, show, table

app = typer.Typer(
    help="Policies that act by themselves: when something is seen, then steps, within guard rails.",
    no_args_is_help=True,
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The policy's name.")]
RunId = Annotated[str, typer.Argument(metavar="RUN", help="The run, au-….")]
_UNITS = {"m": 60, "h": 3600, "d": 86_400}
_DURATION = re.compile(r"([1-9]\d{0,5})([mhd])")
_GUIDE = "automation"
_FILES = {".yaml", ".yml", ".json", ".toml"}


@app.command("policies", epilog="Example: shoal automation policies")
def list_policies(as_json: AsJson = False) -> None:
    """List policies, with what the last look at each came to."""
    with connect() as client:
        found = client.automation.policies()
    rows = [
        (
            one.name,
            one.model,
            "on" if one.is_enabled else "off",
            [when["kind"] for when in one.policy["when"]],
            [step["kind"] for step in one.policy["then"]],
            one.decision.outcome.replace("_", " ") if one.decision else "not looked at yet",
            one.last_run.state if one.last_run else None,
            one.set_by,
        )
        for one in found
    ]
    columns = ("POLICY", "MODEL", "STATE", "WHEN", "THEN", "LAST LOOK", "LAST RUN", "SET BY")
    empty = "No policy: write one (see the guide on automation), then shoal automation apply FILE.yaml"
    show(found, as_json=as_json, draw=lambda: table(columns, rows, empty=empty))


@app.command(epilog="Example: shoal automation apply drift-digits.yaml")
def apply(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="The policy: YAML, TOML or JSON; - for JSON from stdin.")
    ],
    as_json: AsJson = False,
) -> None:
    """Set a policy, in place of an earlier one of its name. It acts in your name."""
    body = read_object(file, _GUIDE)
    if not body.get("name"):
        raise ClientError(f"reading {file}: the policy has no name", "give it one: `name: drift-digits`")
    with connect() as client:
        made = client.automation.apply(body)
    show(
        made, as_json=as_json, draw=lambda: console.print(f"policy {cell(made.name)} is set, revision {made.revision}")
    )


@app.command("show", epilog="Example: shoal automation show drift-digits")
def show_policy(name: Name, as_json: AsJson = False) -> None:
    """Show a policy, what looks at it came to lately, and its runs."""
    with connect() as client:
        found = client.automation.policy(name)
    show(found, as_json=as_json, draw=lambda: _draw_policy(found))


@app.command(epilog="Example: shoal automation enable drift-digits")
def enable(name: Name, as_json: AsJson = False) -> None:
    """Have a policy look again."""
    with connect() as client:
        found = client.automation.enable(name)
    show(found, as_json=as_json, draw=lambda: console.print(f"policy {cell(found.name)} is on"))


@app.command(epilog="Example: shoal automation disable drift-digits")
def disable(name: Name, as_json: AsJson = False) -> None:
    """Have a policy look no more; a run that goes on goes on."""
    with connect() as client:
        found = client.automation.disable(name)
    show(found, as_json=as_json, draw=lambda: console.print(f"policy {cell(found.name)} is off"))


@app.command(epilog="Example: shoal automation remove drift-digits")
def remove(name: Name, as_json: AsJson = False) -> None:
    """Forget a policy; its runs stay."""
    with connect() as client:
        was = client.automation.remove(name)
    show(was, as_json=as_json, draw=lambda: console.print(f"policy {cell(was.name)} is forgotten"))


@app.command("dry-run", epilog="Example: shoal automation dry-run drift-digits.yaml --last 7d")
def dry_run(
    policy: Annotated[str, typer.Argument(metavar="NAME|FILE", help="A policy that is set, or a file with one.")],
    last: Annotated[str, typer.Option(help="Over how much of the past, like 6h or 7d.")] = "7d",
    until: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%dT%H:%M:%S"], help="To this time in UTC; now without.")
    ] = None,
    every: Annotated[float, typer.Option(min=1, max=86_400, help="Between two looks, s.")] = 300.0,
    as_json: AsJson = False,
) -> None:
    """Replay the past: when the policy would have begun a run, and what would have held it back. Nothing changes."""
    end = until.replace(tzinfo=UTC) if until is not None else datetime.now(UTC)
    with connect() as client:
        body = _body_of(client, policy)
        found = client.automation.dry_run(body, end - _duration(last), until=end, every_s=every)
    show(found, as_json=as_json, draw=lambda: _draw_dry_run(found))


@app.command("runs", epilog="Example: shoal automation runs --policy drift-digits")
def list_runs(
    policy: Annotated[str, typer.Option(help="Of this policy only.")] = "",
    state: Annotated[
        str | None, typer.Option(help="running, waiting, succeeded, rejected, failed or stopped only.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List runs, the newest first."""
    with connect() as client:
        found = client.automation.runs(policy=policy, state=state, limit=limit)  # type: ignore[arg-type]  # the hub says what there is
    show(found, as_json=as_json, draw=lambda: _draw_runs(found))


@app.command(epilog="Example: shoal automation explain au-abcdefgh")
def explain(
    run_id: RunId,
    follow: Annotated[bool, typer.Option("--follow", help="Go on until the run has ended.")] = False,
    as_json: AsJson = False,
) -> None:
    """Tell a run's story: what began it, why each step was taken, from what, and what it came to."""
    with connect() as client:
        if follow:
            _follow(client, run_id, as_json=as_json)
            return
        found = client.automation.run(run_id)
    show(found, as_json=as_json, draw=lambda: _draw_run(found))


@app.command(epilog='Example: shoal automation approve au-abcdefgh --comment "looks good"')
def approve(
    run_id: RunId,
    content: Annotated[
        str, typer.Option(metavar="SHA256", help="Of what you have looked at; without, what waits now is shown.")
    ] = "",
    comment: Annotated[str, typer.Option(help="Why it is good.")] = "",
    as_json: AsJson = False,
) -> None:
    """Approve the step for which a run waits: what it would do is shown first, and approved by its hash."""
    with connect() as client:
        run = client.automation.run(run_id)
        waiting = next((step for step in run.steps if step.state == "waiting"), None)
        if waiting is None:
            raise ClientError(f"{run_id} is {run.state}: no step of it waits", f"shoal automation explain {run_id}")
        if not content and not as_json:
            version = f" version {run.candidate}" if run.candidate is not None else ""
            console.print(f"{waiting.kind} of {cell(run.model)}{version}, {waiting.content_sha256[:16]}…")
            typer.confirm("approve it?", abort=True)
        found = client.automation.approve(run_id, content or waiting.content_sha256, comment)
    show(found, as_json=as_json, draw=lambda: console.print(f"you have approved {waiting.kind} of {found.id}"))


@app.command(epilog="Example: shoal automation stop au-abcdefgh")
def stop(run_id: RunId, as_json: AsJson = False) -> None:
    """Stop a run; what its step has begun is taken back, a rollout is aborted."""
    with connect() as client:
        found = client.automation.stop(run_id)
    show(found, as_json=as_json, draw=lambda: console.print(f"{found.id} is stopped"))


@app.command(epilog="Example: shoal automation retry au-abcdefgh")
def retry(run_id: RunId, as_json: AsJson = False) -> None:
    """Have the failed step of a run tried again, and the run go on from there."""
    with connect() as client:
        found = client.automation.retry(run_id)
    show(found, as_json=as_json, draw=lambda: console.print(f"{found.id} goes on with {found.step}"))


def _body_of(client: ShoalClient, policy: str) -> dict[str, Any]:
    if policy == "-" or Path(policy).suffix in _FILES:
        return read_object(Path(policy), _GUIDE)
    return client.automation.policy(policy).policy


def _duration(text: str) -> timedelta:
    found = _DURATION.fullmatch(text)
    if found is None:
        raise ClientError(f"{text!r} is no length of time", "give a number and m, h or d, like 90m, 2h or 7d")
    return timedelta(seconds=int(found[1]) * _UNITS[found[2]])


def _follow(client: ShoalClient, run_id: str, *, as_json: bool) -> None:
    told = 0
    for found in client.automation.watch(run_id):
        for line in found.story[told:]:
            if as_json:
                print_line(line)
            else:
                console.print(_sentence(line.at, line.text))
        told = len(found.story)


def _draw_policy(found: AutomationPolicyDetail) -> None:
    guards = {name: value for name, value in found.policy["guards"].items() if value not in (None, [], {})}
    facts(
        [
            ("policy", found.name),
            ("model", found.model),
            ("state", "on" if found.is_enabled else "off"),
            ("revision", found.revision),
            ("set by", found.set_by),
            ("set", found.set_at),
            *(("when", _told(one)) for one in found.policy["when"]),
            *((f"then {place}", _told(one)) for place, one in enumerate(found.policy["then"], 1)),
            *((name.replace("_", " "), value) for name, value in guards.items()),
        ]
    )
    rows = [
        (one.outcome.replace("_", " "), str(one.decision.get("reason", "")), one.at, one.last_at)
        for one in found.decisions
    ]
    table(("LOOKS", "WHY", "SINCE", "UNTIL"), rows, empty="Not looked at yet")
    _draw_runs(found.runs)


def _told(one: dict[str, Any]) -> str:
    more = ", ".join(f"{name} {value}" for name, value in one.items() if name != "kind" and value not in (None, [], ""))
    return f"{one['kind']}{f': {more}' if more else ''}"


def _draw_runs(found: list[AutomationRun]) -> None:
    rows = [
        (
            one.id,
            one.policy,
            one.model,
            one.state,
            one.step,
            f"{one.champion or '-'} → {one.candidate or '-'}",
            one.reason or one.why,
            one.created_at,
        )
        for one in found
    ]
    columns = ("RUN", "POLICY", "MODEL", "STATE", "STEP", "VERSIONS", "WHY", "BEGAN")
    table(columns, rows, empty="No run yet")


def _draw_run(found: AutomationRunDetail) -> None:
    console.print(
        f"{found.id} of {cell(found.policy)} revision {found.revision}: {cell(found.model)}, {cell(found.state)}"
    )
    for line in found.story:
        console.print(_sentence(line.at, line.text), soft_wrap=True)
        for kind, of in line.links.items():
            console.print(f"    [dim]{kind.replace('_', ' ')} {cell(of)}[/dim]")
    for step in found.steps:
        if step.state == "working":
            console.print(f"now: {step.kind}: {cell(step.now)}", soft_wrap=True)
        elif step.state == "waiting":
            given = len(step.approvals)
            console.print(f"now: {step.kind} waits for approval, {given} of {step.approvals_needed} given")
            console.print(f"    [dim]shoal automation approve {found.id} --content {step.content_sha256}[/dim]")
        elif step.state == "pending":
            console.print(f"[dim]to come: {step.kind}[/dim]")


def _sentence(at: datetime, text: str) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}  {cell(text)}"


def _draw_dry_run(found: DryRun) -> None:
    period = f"{found.since:%Y-%m-%d %H:%M} to {found.until:%Y-%m-%d %H:%M} UTC"
    console.print(
        f"{cell(found.policy)} from {period}: {found.looks} looks over {found.windows} windows; "
        f"it would have begun {len(found.fired)} runs"
    )
    rows = [("would begin", f"{one.at:%Y-%m-%d %H:%M:%S}", "", "", one.reason) for one in found.fired]
    rows += [
        (
            "held back",
            f"{one.since:%Y-%m-%d %H:%M:%S}",
            f"{one.until:%Y-%m-%d %H:%M:%S}",
            ", ".join(one.guards),
            one.reason,
        )
        for one in found.held_back
    ]
    table(
        ("WHAT", "AT (UTC)", "UNTIL", "BY", "WHY"),
        sorted(rows, key=lambda row: str(row[1])),
        empty="It would have done nothing",
    )
    if not rows:
        for one in found.last.conditions:
            console.print(f"[dim]at the end: {cell(one.reason)}[/dim]")
