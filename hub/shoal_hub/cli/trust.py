"""`shoal trust`: the fleet's root of trust: make offline keys, rotate, sign, look.

Everything at the hub goes through its API. What is done where the offline keys are needs no hub.
"""

from pathlib import Path
from typing import Annotated

import typer
from pydantic import BaseModel

from shoal_client.tuf import Rotation, SigningRequest, TrustStatus
from shoal_hub.cli.connection import connect
from shoal_hub.cli.output import AsJson, console, errors, show, table
from shoal_hub.errors import InvalidInputError

app = typer.Typer(help="The fleet's root of trust: TUF roles, keys, what waits for signatures.", no_args_is_help=True)

_SHORT = 12
PassphraseFile = Annotated[
    Path | None,
    typer.Option("--passphrase-file", help="File with the keys' passphrase; without it you are asked.", dir_okay=False),
]


class Ceremony(BaseModel):
    """What `init` has made."""

    folder: str
    keys: list[str]


@app.command(epilog="Example: shoal trust init --out ceremony --root-keys 3 --root-threshold 2")
def init(
    out: Annotated[Path, typer.Option("--out", help="New folder for the keys and the metadata that names them.")],
    root_keys: Annotated[int, typer.Option(help="Keys of root.", min=1, max=16)] = 3,
    root_threshold: Annotated[int, typer.Option(help="How many of them must sign.", min=1)] = 2,
    targets_keys: Annotated[int, typer.Option(help="Keys of targets.", min=1, max=16)] = 1,
    targets_threshold: Annotated[int, typer.Option(help="How many of them must sign.", min=1)] = 1,
    code_keys: Annotated[int, typer.Option(help="Keys of code.", min=1, max=16)] = 1,
    code_threshold: Annotated[int, typer.Option(help="How many of them must sign.", min=1)] = 1,
    signer: Annotated[
        list[str] | None,
        typer.Option(help="ROLE=URL: a key of ROLE that lies there already, in place of one in a file; repeatable."),
    ] = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Make a hub's offline keys: on a machine of your own, which needs no hub and no network but for a signer's.

    Take each folder below OUT/keys to a place of its own. OUT/root.json and OUT/targets.json are public; the hub takes
    the keys from them:  shoal trust rotate offline --from OUT
    """
    from shoal_hub.trust.offline import Plan, make_ceremony

    urls = tuple(_role_and_url(one) for one in signer or [])
    plan = Plan(root_keys, root_threshold, targets_keys, targets_threshold, code_keys, code_threshold, urls)
    passphrase = _passphrase(passphrase_file, is_new=True) if plan.has_files else b""
    made = Ceremony(folder=str(out), keys=make_ceremony(out, passphrase, plan))
    show(made, as_json=as_json, draw=lambda: table(("KEY",), [(place,) for place in made.keys], empty=""))
    _say(f"next, at the hub: shoal trust rotate offline --from {out}")


@app.command(epilog="Example: shoal trust rotate director; shoal trust rotate offline --from ceremony")
def rotate(
    role: Annotated[
        str,
        typer.Argument(
            help="root, targets, code or offline (all three); snapshot, timestamp, models, models/NAME, director."
        ),
    ],
    source: Annotated[Path | None, typer.Option("--from", help="Folder of `shoal trust init`: the new keys.")] = None,
    signer: Annotated[str, typer.Option(help="URL of the new key's signer: hsm:… or awskms:…")] = "",
    as_json: AsJson = False,
) -> None:
    """Give a role new keys. Online ones are made at the hub; what offline keys must sign waits until they have."""
    from shoal_hub.trust.offline import read_ceremony

    root, targets = read_ceremony(source) if source else ("", "")
    with connect() as client:
        status = client.trust.rotate(Rotation(role=role, signer=signer, root=root, targets=targets))
    show(status, as_json=as_json, draw=lambda: _draw_outcome(status))


@app.command(epilog="Example: shoal trust sign --keys /media/root-1")
def sign(
    keys: Annotated[
        Path | None,
        typer.Option(help="Folder with offline keys; folders below it count too.", exists=True, file_okay=False),
    ] = None,
    signer: Annotated[list[str] | None, typer.Option(help="URL of a signer that holds an offline key.")] = None,
    file: Annotated[Path | None, typer.Option(help="Sign this file, without a hub; it is written back.")] = None,
    save: Annotated[Path | None, typer.Option(help="Only fetch what is to be signed into this file.")] = None,
    submit: Annotated[Path | None, typer.Option(help="Only hand in this file's signatures.")] = None,
    discard: Annotated[bool, typer.Option("--discard", help="Only drop what is staged.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Sign without asking.")] = False,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Show what is staged, sign it with offline keys, and have the hub publish once there are enough signatures.

    Where the keys are on a machine without network: --save at the hub, --file there, --submit at the hub.
    """
    if discard:
        with connect() as client:
            status = client.trust.discard()
        show(status, as_json=as_json, draw=lambda: console.print("nothing is staged; what is in force stays"))
    elif save is not None:
        with connect() as client:
            save.write_text(client.trust.staged().model_dump_json(indent=2))
        _say(f"saved {save}; sign it: shoal trust sign --keys FOLDER --file {save}")
    elif submit is not None:
        _submit(_read_request(submit), as_json=as_json)
    elif file is not None:
        signed = _sign(_read_request(file), keys, signer or [], passphrase_file, yes=yes)
        file.write_text(signed.model_dump_json(indent=2))
        _say(f"signed {file}; hand it in: shoal trust sign --submit {file}")
    else:
        with connect() as client:
            request = client.trust.staged()
        _submit(_sign(request, keys, signer or [], passphrase_file, yes=yes), as_json=as_json)


@app.command(epilog="Example: shoal trust status")
def status(as_json: AsJson = False) -> None:
    """Show roles, keys and where they lie, what waits for signatures, and what somebody should look at."""
    with connect() as client:
        found = client.trust.status()
    show(found, as_json=as_json, draw=lambda: _draw(found))


def _sign(
    request: SigningRequest, keys: Path | None, urls: list[str], passphrase_file: Path | None, *, yes: bool
) -> SigningRequest:
    from shoal_hub.trust.offline import open_signer_url, open_signers, review, sign_request

    reviewed = review(request)
    for role, lines in reviewed.changes.items():
        _say(f"{role}: {'; '.join(lines)}")
    if keys is None and not urls:
        raise InvalidInputError("signing: no key is named", "give --keys FOLDER, or --signer URL")
    if not yes:
        typer.confirm("Sign this?", abort=True, err=True)
    signers = [open_signer_url(url) for url in urls]
    if keys is not None:
        signers += open_signers(keys, _passphrase(passphrase_file, is_new=False))
    signed, added = sign_request(request, signers)
    for line in added:
        _say(line)
    return signed


def _role_and_url(text: str) -> tuple[str, str]:
    role, equals, url = text.partition("=")
    if not equals:
        raise InvalidInputError(f"reading --signer {text}: no role is named", "write ROLE=URL: --signer root=awskms:…")
    return role, url


def _submit(signed: SigningRequest, *, as_json: bool) -> None:
    with connect() as client:
        status = client.trust.submit(signed)
    show(status, as_json=as_json, draw=lambda: _draw_outcome(status))


def _read_request(path: Path) -> SigningRequest:
    from shoal_hub.trust.offline import read_request

    try:
        return read_request(path.read_bytes())
    except OSError as error:
        raise InvalidInputError(f"reading {path}: {error.strerror}", "name the file that --save wrote") from error


def _passphrase(path: Path | None, *, is_new: bool) -> bytes:
    if path is None:
        text: str = typer.prompt("Passphrase of the keys", hide_input=True, confirmation_prompt=is_new, err=True)
        return text.encode()
    try:
        return path.read_bytes().rstrip(b"\r\n")
    except OSError as error:
        raise InvalidInputError(f"reading {path}: {error.strerror}", "name the file with the passphrase") from error


def _draw(status: TrustStatus) -> None:
    rows = [
        (
            one.role,
            one.version,
            one.expires_at,
            f"{one.threshold} of {len(one.keys)}",
            ", ".join(f"{key.key_id[:_SHORT]} {_place(key.place)}" for key in one.keys),
        )
        for one in status.roles
    ]
    table(("ROLE", "VERSION", "EXPIRES", "SIGNS", "KEYS"), rows, empty="The hub has no metadata yet: shoal hub up")
    _draw_staged(status)
    for warning in status.warnings:
        console.print(f"warning: {warning}", style="yellow", soft_wrap=True, markup=False)


def _draw_outcome(status: TrustStatus) -> None:
    if not status.staged:
        console.print("in force: devices take it up with their next refresh")
    _draw_staged(status)


def _draw_staged(status: TrustStatus) -> None:
    rows = [
        (one.role, one.version, "; ".join(one.changes), "; ".join(one.missing) or "signed") for one in status.staged
    ]
    if rows:
        console.print("waits for signatures (shoal trust sign --keys FOLDER):")
        table(("ROLE", "VERSION", "CHANGES", "WANTED"), rows, empty="")


def _place(place: str) -> str:
    if not place:
        return "(not at the hub)"
    return "(at the hub)" if place.startswith("/") or place == "keystore" else f"({place})"


def _say(line: str) -> None:
    errors.print(line, soft_wrap=True, markup=False, highlight=False)
