"""`shoal login`: writes the profile after trying it."""

import os
from pathlib import Path
from typing import Annotated

import typer
from pydantic import SecretStr

from shoal_client import Profile, ShoalClient
from shoal_client.profile import profile_path, write_profile
from shoal_client.trust import ca_sha256, fetch_ca
from shoal_hub.cli.output import AsJson, console, print_json
from shoal_hub.cli.secret_input import read_secret


def login(
    url: Annotated[str, typer.Argument(help="The hub's address, https://host:8443.")],
    ca: Annotated[Path | None, typer.Option(help="The hub's CA as a PEM file.", exists=True, dir_okay=False)] = None,
    fingerprint: Annotated[str | None, typer.Option(help="SHA-256 of the hub's CA, to fetch it by.")] = None,
    as_json: AsJson = False,
) -> None:
    """Store which hub to talk to and as whom, once the hub has accepted the token.

    The token is taken from SHOAL_OPERATOR_TOKEN, asked for, or read from standard input. Without --ca and
    --fingerprint, the CAs that this machine trusts are used.
    """
    ca_path = ca.absolute() if ca else None
    if fingerprint:
        pem = fetch_ca(url, fingerprint)
        # Named for what it is: one that another profile trusts stays as it is, also where this login fails.
        ca_path = profile_path().with_name(f"ca-{ca_sha256(pem)[:16]}.pem")
        ca_path.parent.mkdir(parents=True, exist_ok=True)
        ca_path.write_text(pem)
    given = os.environ.get("SHOAL_OPERATOR_TOKEN")
    token = SecretStr(given) if given else read_secret("Operator's token")
    with ShoalClient(url, token.get_secret_value(), ca_path) as client:
        operator = client.operator()
    path = write_profile(Profile(url=url.rstrip("/"), token=token, ca_path=ca_path))
    if as_json:
        print_json(operator)
    else:
        console.print(f"Logged in to {url} as [bold]{operator.name}[/bold] ({operator.role}); the profile is {path}")
