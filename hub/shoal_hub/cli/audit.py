"""`shoal audit`: who changed what, and whether the trail of it is whole."""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import typer

from shoal_client import ClientError
from shoal_client.audit import AuditReport, By
from shoal_hub.audit.chain import Report, examine, read_public_keys
from shoal_hub.audit.entry import iter_export
from shoal_hub.cli.connection import connect
from shoal_hub.cli.output import AsJson, ago, cell, console, facts, print_json, show, table

app = typer.Typer(help="The audit trail: every change, chained by hash and signed.", no_args_is_help=True)

_OFFLINE = "an offline check takes three files: an export, the hub's file of anchors, and the public key"
_TIMES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M"]


@app.command("list", epilog="Example: shoal audit list --actor ada --subject models/digits")
def list_entries(
    actor: Annotated[str | None, typer.Option(help="By one person or token, by id or name.")] = None,
    by: Annotated[
        By | None, typer.Option(help="Only what people do, or devices, or the hub by itself.", show_default=False)
    ] = None,
    action: Annotated[str | None, typer.Option(help="One action, like rollouts.create_rollout.")] = None,
    subject: Annotated[str | None, typer.Option(help="About one thing and all below it, like models/digits.")] = None,
    since: Annotated[datetime | None, typer.Option(formats=_TIMES, help="Not before this time, UTC.")] = None,
    until: Annotated[datetime | None, typer.Option(formats=_TIMES, help="Before this time, UTC.")] = None,
    after: Annotated[int | None, typer.Option(help="Only after this sequence, oldest first.", min=0)] = None,
    limit: Annotated[int, typer.Option(help="How many.", min=1, max=1000)] = 50,
    as_json: AsJson = False,
) -> None:
    """List changes in order; the last ones, unless --after says otherwise."""
    with connect() as client:
        entries = client.audit.list(
            actor=actor,
            by=by,
            action=action,
            subject=subject,
            since=_utc(since),
            until=_utc(until),
            after=after,
            limit=limit,
        )
    rows = [
        (
            one.sequence,
            f"{one.at:%Y-%m-%d %H:%M:%S}",
            one.actor_name or one.actor_id,
            one.actor_address,
            one.action,
            one.subject,
        )
        for one in entries
    ]
    columns = ("NUMBER", "WHEN (UTC)", "WHO", "FROM", "WHAT", "OF WHAT")
    show(entries, as_json=as_json, draw=lambda: table(columns, rows, empty="No such change has been recorded."))


@app.command("show", epilog="Example: shoal audit show 42")
def show_entry(
    sequence: Annotated[int, typer.Argument(metavar="NUMBER", help="The entry's number.", min=1)],
    as_json: AsJson = False,
) -> None:
    """Show one change with what was and what is."""
    with connect() as client:
        entry = client.audit.show(sequence)
    if as_json:
        print_json(entry)
        return
    who = f"{entry.actor_name} ({entry.actor_id}, {entry.actor_role})"
    pairs = [("when", f"{entry.at:%Y-%m-%d %H:%M:%S} UTC"), ("who", who), ("from", entry.actor_address)]
    facts([*pairs, ("what", entry.action), ("of what", entry.subject), ("sha256", entry.sha256)])
    changed = dict.fromkeys([*entry.before, *entry.after])
    rows = [(row, _short(entry.before.get(row)), _short(entry.after.get(row))) for row in changed]
    table(("ROW", "BEFORE", "AFTER"), rows, empty="The request was granted and changed nothing.")


@app.command(epilog="Example: shoal audit verify --file audit.jsonl --anchors anchors.jsonl --key audit.pub")
def verify(
    file: Annotated[Path | None, typer.Option(help="Check this export (JSON lines) instead of asking the hub.")] = None,
    anchors: Annotated[
        list[Path] | None, typer.Option(help="With --file: anchors, an envelope a line; may be repeated.")
    ] = None,
    key: Annotated[Path | None, typer.Option(help="With --file: the public key, trust/audit.pub of the hub.")] = None,
    as_json: AsJson = False,
) -> None:
    """Find edits, gaps and a cut tail, and say how recent the last anchor is. Exit status 1 if anything is wrong.

    With --file nothing of the hub is asked or believed.
    """
    report: Report | AuditReport
    if file is None:
        if anchors or key:
            raise ClientError("--anchors and --key were given without --file", _OFFLINE)
        with connect() as client:
            report = client.audit.verify()
    else:
        report = _verify_offline(file, anchors or [], key)
    show(report, as_json=as_json, draw=lambda: _draw(report))
    if not report.holds:
        sys.exit(1)


@app.command(epilog="Example: shoal audit export audit.jsonl")
def export(
    path: Annotated[Path, typer.Argument(help="File to write; - for standard output.")],
    form: Annotated[
        Literal["jsonl", "csv"], typer.Option("--form", help="jsonl, which can be verified offline, or csv.")
    ] = "jsonl",
    as_json: AsJson = False,
) -> None:
    """Write the whole trail to a file. With --json, print where it is and how large."""
    size_bytes = 0
    with connect() as client, typer.open_file(str(path), "wb") as out:
        for part in client.audit.export(form):
            out.write(part)
            size_bytes += len(part)
    if str(path) == "-":
        return
    if as_json:
        typer.echo(json.dumps({"path": str(path), "size_bytes": size_bytes}))
    else:
        console.print(f"{cell(str(path))}: {size_bytes} bytes")


def _verify_offline(file: Path, anchors: list[Path], key: Path | None) -> Report:
    if not anchors or key is None:
        raise ClientError("--file was given without --anchors or --key", _OFFLINE)
    try:
        lines = [line for path in anchors for line in path.read_bytes().splitlines()]
        public = read_public_keys(key.read_bytes())
        with file.open("rb") as export_file:
            return examine(iter_export(export_file), lines, public, None)
    except (OSError, ValueError) as error:
        raise ClientError(f"verifying {file}: {error}", _OFFLINE) from error


def _draw(report: Report | AuditReport) -> None:
    now = datetime.now(UTC)
    age = ago(report.last_anchor_at, now) if report.last_anchor_at else "there is none"
    left = report.entries - report.covered
    since = f", the oldest made {ago(report.uncovered_since, now)}" if report.uncovered_since else ""
    facts(
        [
            ("entries checked", report.entries),
            ("covered by an anchor", report.covered),
            ("not covered yet", f"{left}{since}" if left > 0 else 0),
            ("last anchor", f"{age}, of {report.anchors}"),
            ("verdict", "whole" if report.holds else f"{len(report.findings)} findings"),
        ]
    )
    for finding in report.findings:
        console.print(f"{cell('error')} {cell(finding.message)}", soft_wrap=True)


def _short(value: object) -> str:
    return "" if value is None else json.dumps(value, ensure_ascii=False)


def _utc(at: datetime | None) -> datetime | None:
    return at.replace(tzinfo=UTC) if at is not None else None
