"""Who may do what: roles in one order, the scopes of a token, and the caller that a request speaks for."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal


class Role(StrEnum):
    """What a person may do, each role all that the one before it may."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    APPROVER = "approver"
    ADMIN = "admin"

    @property
    def rank(self) -> int:
        """The place in the order: 0 for viewer."""
        return list(Role).index(self)

    def includes(self, other: "Role") -> bool:
        """Whether this role may do all that `other` may."""
        return self.rank >= other.rank

    @staticmethod
    def lesser(one: "Role", other: "Role") -> "Role":
        """Return the role that may do less."""
        return one if other.includes(one) else other


class Scope(StrEnum):
    """What a token is for; it opens nothing that its user's role does not."""

    READ = "read"
    DEVICES = "devices"
    ENROL = "enrol"
    MODELS = "models"
    ROLLOUTS = "rollouts"
    APPROVALS = "approvals"
    METRICS = "metrics"
    ADMIN = "admin"


ALL_SCOPES = frozenset(Scope)


@dataclass(frozen=True)
class Principal:
    """The user behind one request, with what this request may do.

    Attributes:
        id: The user's id: the same through whichever token or session.
        name: The user's name.
        role: The lower one of the user's role and the token's.
        scopes: What the token is for; all of them in a session that a person opened.
        source: Whether a token was shown, or a session of the console.
        source_id: The token's id, or the hash of the session's secret.
        address: Where the request came from.
        holders: Ids of the users who may be the person behind it: this one, and who may know the token that was shown.
    """

    id: str
    name: str
    role: Role
    scopes: frozenset[Scope]
    source: Literal["token", "session"]
    source_id: str
    address: str
    holders: frozenset[str]

    def may(self, role: Role, scope: Scope | None) -> bool:
        """Whether a thing that needs this role and this scope is open to the caller."""
        return self.role.includes(role) and (scope is None or scope in self.scopes)


def read_scopes(texts: Iterable[str]) -> frozenset[Scope]:
    """Return stored scopes; one that this version does not know opens nothing."""
    known = {scope.value: scope for scope in Scope}
    return frozenset(known[text] for text in texts if text in known)
