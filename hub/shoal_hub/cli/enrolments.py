"""`shoal devices authorise|authorised|withdraw|pending|accept|reject`: devices that enrol without a token."""

import csv
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from pydantic import BaseModel

from shoal_client import ClientError, ShoalClient
from shoal_client.fleet import PendingEnrolment
from shoal_hub.cli.connection import connect
from shoal_hub.cli.output import AsJson, cell, console, show, table
from shoal_hub.cli.tags import Tags, read_tags

_COLUMNS: Final = ("fingerprint", "name", "group", "tags")
_SHORTEST: Final = 16
_DAY_S: Final = 86_400
_FINGERPRINT: Final = "SHA-256 of the device's public key, as `shoal-agent key` prints it."
Fingerprint = Annotated[str, typer.Argument(metavar="FINGERPRINT", help=_FINGERPRINT)]


class Withdrawn(BaseModel):
    """A key that no device can enrol with any more."""

    key_sha256: str


def add_commands(app: typer.Typer) -> None:
    """Add the commands to `shoal devices`."""
    app.command(epilog="Example: shoal devices authorise --file keys.csv")(authorise)
    app.command(epilog="Example: shoal devices authorised")(authorised)
    app.command(epilog="Example: shoal devices withdraw 7d0c…")(withdraw)
    app.command(epilog="Example: shoal devices pending")(pending)
    app.command(epilog="Example: shoal devices accept 7d0c… --group greenhouse")(accept)
    app.command(epilog="Example: shoal devices reject 7d0c…")(reject)


def authorise(
    fingerprint: Annotated[str, typer.Argument(metavar="[FINGERPRINT]", help=_FINGERPRINT)] = "",
    file: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help=f"CSV with the columns {', '.join(_COLUMNS)}; tags as a=b;c=d."),
    ] = None,
    name: Annotated[str, typer.Option(help="The device's name; without it, its own.")] = "",
    group: Annotated[str, typer.Option(help="The group that it joins.")] = "",
    tags: Tags = None,
    days: Annotated[float | None, typer.Option(help="Days until it expires; without, never.", min=0.01)] = None,
    as_json: AsJson = False,
) -> None:
    """Let devices with known keys enrol without a token: one, or those of a file."""
    if bool(fingerprint) == (file is not None):
        raise ClientError("authorising keys: one fingerprint or --file was expected", "see shoal devices authorise -h")
    one = {"key_sha256": _plain(fingerprint), "name": name, "group": group, "tags": read_tags(tags)}
    keys = [one] if file is None else _read_file(file, one)
    if days is not None:
        keys = [key | {"expires_in_s": round(days * _DAY_S)} for key in keys]
    with connect() as client:
        rows = client.enrolments.authorise(keys)
    show(rows, as_json=as_json, draw=lambda: console.print(f"{len(rows)} key(s) may enrol"))


def authorised(as_json: AsJson = False) -> None:
    """List keys that may enrol without a token, and the devices that they became."""
    with connect() as client:
        rows = client.enrolments.authorised()
    cells = [(one.key_sha256, one.name, one.group, one.expires_at, one.created_by, one.device_id) for one in rows]
    columns = ("FINGERPRINT", "NAME", "GROUP", "EXPIRES", "BY", "DEVICE")
    show(rows, as_json=as_json, draw=lambda: table(columns, cells, empty="No key is authorised."))


def withdraw(fingerprint: Fingerprint, as_json: AsJson = False) -> None:
    """Let no device enrol with a key any more; one that has enrolled with it stays."""
    key = _plain(fingerprint)
    with connect() as client:
        client.enrolments.withdraw(key)
    show(Withdrawn(key_sha256=key), as_json=as_json, draw=lambda: console.print(f"{key} may not enrol any more"))


def pending(as_json: AsJson = False) -> None:
    """List devices that asked without a token. Compare the fingerprint with what the device shows."""
    with connect() as client:
        rows = client.enrolments.pending()
    cells = [(one.key_sha256, one.state, one.name, one.hardware.model, one.address, one.last_asked_at) for one in rows]
    columns = ("FINGERPRINT", "STATE", "NAME", "HARDWARE", "ADDRESS", "ASKED")
    show(rows, as_json=as_json, draw=lambda: table(columns, cells, empty="No device waits."))


def accept(
    fingerprint: Fingerprint,
    name: Annotated[str, typer.Option(help="The device's name; without it, its own.")] = "",
    group: Annotated[str, typer.Option(help="The group that it joins.")] = "",
    tags: Tags = None,
    as_json: AsJson = False,
) -> None:
    """Let a device that waits enrol. It gets its certificate when it asks again, by itself."""
    given = read_tags(tags)
    with connect() as client:
        found = _find(client, fingerprint)
        row = client.enrolments.accept(found.key_sha256, name=name, group=group, tags=given)
    show(row, as_json=as_json, draw=lambda: console.print(f"{cell(row.name or row.key_sha256)} may enrol"))


def reject(fingerprint: Fingerprint, as_json: AsJson = False) -> None:
    """Refuse a device that waits."""
    with connect() as client:
        row = client.enrolments.reject(_find(client, fingerprint).key_sha256)
    show(row, as_json=as_json, draw=lambda: console.print(f"{cell(row.name or row.key_sha256)} is rejected"))


def _find(client: ShoalClient, fingerprint: str) -> PendingEnrolment:
    wanted = _plain(fingerprint)
    if len(wanted) < _SHORTEST:
        raise ClientError(
            f"looking for {wanted!r}: a shorter part than {_SHORTEST} digits can be imitated", "give more of it"
        )
    found = [one for one in client.enrolments.pending() if one.key_sha256.startswith(wanted)]
    if len(found) != 1:
        raise ClientError(f"{len(found)} devices wait with a key {wanted}", "list them: shoal devices pending")
    return found[0]


def _plain(fingerprint: str) -> str:
    return fingerprint.strip().lower().replace(":", "")


def _read_file(path: Path, common: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a CSV file's keys; what a line leaves empty is as the options say."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        unknown = set(reader.fieldnames or ()) - set(_COLUMNS)
        if "fingerprint" not in (reader.fieldnames or ()) or unknown:
            raise ClientError(
                f"reading {path}: a head line of {', '.join(_COLUMNS)} was expected, found {reader.fieldnames}",
                "only fingerprint has to be there",
            )
        return [_read_line(line, common) for line in reader]


def _read_line(line: dict[str, str], common: dict[str, Any]) -> dict[str, Any]:
    tags = read_tags([one for one in (line.get("tags") or "").split(";") if one])
    return {
        "key_sha256": _plain(line["fingerprint"] or ""),
        "name": line.get("name") or common["name"],
        "group": line.get("group") or common["group"],
        "tags": common["tags"] | tags,
    }
