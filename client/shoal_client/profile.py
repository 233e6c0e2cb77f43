"""The CLI's profile: which hub, trusted by which CA, and as whom. One JSON file that only its owner can read."""

import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError

from shoal_client.errors import ProfileError

_REMEDY = "run  shoal login URL --ca ca.pem  (it asks for the token); on the hub's own machine `shoal hub up` writes it"


class Profile(BaseModel):
    """Where the hub is, the CA that signs for it, and the operator's token."""

    model_config = ConfigDict(frozen=True)

    url: str
    token: SecretStr
    ca_path: Path | None = None
    """None trusts what the system trusts."""


def profile_path(environ: Mapping[str, str] = os.environ) -> Path:
    """Return where the profile is: SHOAL_PROFILE, or ~/.config/shoal/profile.json."""
    given = environ.get("SHOAL_PROFILE")
    return Path(given) if given else Path.home() / ".config" / "shoal" / "profile.json"


def read_profile(path: Path | None = None) -> Profile:
    """Read a profile.

    Raises:
        ProfileError: There is none, or it cannot be read.
    """
    path = path or profile_path()
    try:
        return Profile.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ProfileError(f"reading the profile {path}: {error.strerror}", _REMEDY) from error
    except ValidationError as error:
        raise ProfileError(f"reading the profile {path}: {error.errors()[0]['msg']}", _REMEDY) from error


def write_profile(profile: Profile, path: Path | None = None) -> Path:
    """Write a profile, readable by its owner only, in one step.

    Raises:
        ProfileError: The place cannot be written.
    """
    path = path or profile_path()
    fields = profile.model_dump(mode="json") | {"token": profile.token.get_secret_value()}
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(json.dumps(fields, indent=2) + "\n")
        part.replace(path)
    except OSError as error:
        raise ProfileError(
            f"writing the profile {path}: {error.strerror}", "check the folder, or set SHOAL_PROFILE"
        ) from error
    return path
