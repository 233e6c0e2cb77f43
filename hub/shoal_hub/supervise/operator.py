"""The first admin and its token, made at the first start, and the CLI's profile that holds it."""

from pathlib import Path

from pydantic import SecretStr
from sqlmodel import select

from shoal_client.errors import ProfileError
from shoal_client.profile import Profile, profile_path, read_profile, write_profile
from shoal_hub.addresses import Addresses
from shoal_hub.audit.actor import SUPERVISOR
from shoal_hub.audit.record import record
from shoal_hub.database import Database
from shoal_hub.operators.tables import OperatorToken
from shoal_hub.operators.tokens import create_operator_token
from shoal_hub.settings import Settings


def ensure_operator(settings: Settings, addresses: Addresses) -> Path | None:
    """Have an operator's token and the CLI's profile with it.

    The token is kept in that profile alone: a copy of the data folder gives nobody a way in. Only where the profile
    speaks of another hub, and so is left alone, a profile lies in the data folder.

    Returns:
        Where the profile is that reaches this hub; None if nobody has logged in here and every token was made by
        somebody else.
    """
    kept, usual = settings.data / "operator.json", profile_path()
    ca_path = settings.data / "trust" / "ca.pem"
    is_ours = _is_ours(usual, ca_path)
    token = _first_token(settings) or _token_in(kept) or (_token_in(usual) if is_ours else None)
    if token is None:
        return None
    profile = Profile(url=addresses.api_url, token=SecretStr(token), ca_path=ca_path)
    if not is_ours:
        return write_profile(profile, kept)
    write_profile(profile, usual)
    kept.unlink(missing_ok=True)
    return usual


def _token_in(path: Path) -> str | None:
    return read_profile(path).token.get_secret_value() if path.exists() else None


def _first_token(settings: Settings) -> str | None:
    database = Database(settings.database)
    try:
        with database.transaction() as session:
            if session.exec(select(OperatorToken.id)).first() is not None:
                return None
            token = create_operator_token(session, "admin")
            record(session, SUPERVISOR, "operators.first_token", "operator_tokens", {}, {"name": "admin"})
            return token
    finally:
        database.close()


def _is_ours(path: Path, ca_path: Path) -> bool:
    """Whether the CLI's profile may be written: there is none, or it is of this hub."""
    try:
        return not path.exists() or read_profile(path).ca_path == ca_path
    except ProfileError:
        return False
