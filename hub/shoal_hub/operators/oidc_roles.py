"""Which role a user of the OIDC provider has here: by the values of one claim. Pure."""

from collections.abc import Mapping
from typing import Any

from shoal_hub.operators.roles import Role


def parse_roles(text: str) -> dict[str, Role]:
    """Return the roles of `fleet-ops=operator,fleet-admins=admin`, by the claim's value.

    Raises:
        ValueError: It is no such list.
    """
    roles: dict[str, Role] = {}
    for part in filter(None, (one.strip() for one in text.split(","))):
        value, separator, role = part.rpartition("=")
        if not separator or not value or role not in set(Role):
            msg = f"{part!r} is not VALUE=ROLE with a role of {', '.join(Role)}"
            raise ValueError(msg)
        roles[value] = Role(role)
    return roles


def role_of(claims: Mapping[str, Any], claim: str, roles: Mapping[str, Role]) -> Role | None:
    """Return the highest role that the claim's values give, None if they give none.

    Args:
        claims: Those of the ID token.
        claim: The claim's name; as it stands, or with dots as a path.
        roles: Roles by value.
    """
    found: Any = claims.get(claim)
    if found is None:
        found = claims
        for part in claim.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
    values = found if isinstance(found, list) else [found]
    given = [roles[value] for value in values if isinstance(value, str) and value in roles]
    return max(given, key=lambda role: role.rank, default=None)
