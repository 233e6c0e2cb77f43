"""The API's routes of people as methods: users, their API tokens, and approvals."""

from collections.abc import Sequence
from typing import Any

from pydantic import SecretStr

from shoal_client.operators import Approval, ApprovalPolicy, NewOperatorToken, OperatorToken, Role, Scope, User
from shoal_client.transport import Transport


class Users:
    """Users of the hub."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self) -> list[User]:
        """List users by name."""
        return self._transport.call("GET", "/users", list[User])

    def create(self, name: str, role: Role, password: SecretStr | None = None) -> User:
        """Make a user; without a password, one that comes in by token alone."""
        body = {"name": name, "role": role, "password": password.get_secret_value() if password else None}
        return self._transport.call("POST", "/users", User, json=body)

    def set_role(self, name: str, role: Role) -> User:
        """Give a user another role; tokens and open sessions follow at once."""
        return self._transport.call("PATCH", f"/users/{name}", User, json={"role": role})

    def disable(self, name: str, *, is_disabled: bool = True) -> User:
        """Let a user in no more, or again."""
        return self._transport.call("PATCH", f"/users/{name}", User, json={"is_disabled": is_disabled})

    def reset_password(self, name: str, password: SecretStr) -> User:
        """Give a user a password, and end their sessions."""
        body = {"password": password.get_secret_value()}
        return self._transport.call("PUT", f"/users/{name}/password", User, json=body)


class OperatorTokens:
    """API tokens."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(
        self,
        user: str,
        role: Role,
        scopes: Sequence[Scope] = ("read",),
        *,
        label: str = "",
        expires_in_s: int = 7_776_000,
    ) -> NewOperatorToken:
        """Make a token; its text is shown this once."""
        body: dict[str, Any] = {"user": user, "role": role, "scopes": list(scopes), "label": label}
        body["expires_in_s"] = expires_in_s
        return self._transport.call("POST", "/operator-tokens", NewOperatorToken, json=body)

    def list(self) -> list[OperatorToken]:
        """List tokens, newest first: everybody's for an admin, one's own for others."""
        return self._transport.call("GET", "/operator-tokens", list[OperatorToken])

    def revoke(self, token_id: str) -> OperatorToken:
        """Withdraw a token, and every session that it opened."""
        return self._transport.call("DELETE", f"/operator-tokens/{token_id}", OperatorToken)


class Approvals:
    """What other people have to agree to before it happens."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self, *, model: str | None = None, limit: int = 100) -> list[Approval]:
        """List what waits or waited, newest first."""
        params: dict[str, Any] = {"limit": limit} | ({"model": model} if model else {})
        return self._transport.call("GET", "/approvals", list[Approval], params=params)

    def show(self, approval_id: str) -> Approval:
        """Return one, with what exactly is asked for."""
        return self._transport.call("GET", f"/approvals/{approval_id}", Approval)

    def approve(self, approval_id: str, content_sha256: str, comment: str = "") -> Approval:
        """Approve the content that was looked at; the last approval has it done."""
        body = {"content_sha256": content_sha256, "comment": comment}
        return self._transport.call("POST", f"/approvals/{approval_id}/approve", Approval, json=body)

    def reject(self, approval_id: str, comment: str = "") -> Approval:
        """End it undone; its author may, and every approver."""
        return self._transport.call("POST", f"/approvals/{approval_id}/reject", Approval, json={"comment": comment})

    def policy(self, model: str) -> ApprovalPolicy:
        """Return how many approvals a model asks for."""
        return self._transport.call("GET", f"/models/{model}/approval-policy", ApprovalPolicy)

    def set_policy(self, model: str, policy: ApprovalPolicy) -> ApprovalPolicy:
        """Set how many approvals a model asks for: none, one or two."""
        body = policy.model_dump()
        return self._transport.call("PUT", f"/models/{model}/approval-policy", ApprovalPolicy, json=body)
