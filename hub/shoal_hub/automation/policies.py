"""Sets policies, switches them on and off, and forgets them; runs and earlier revisions stay."""

from collections.abc import Collection
from datetime import datetime
from typing import Final

from sqlmodel import Session, col, func, select

from shoal_hub.automation.machine import OPEN
from shoal_hub.automation.policy import Policy
from shoal_hub.automation.tables import AutomationRun, PolicyRevision, PolicyRow
from shoal_hub.database import announce
from shoal_hub.errors import ConflictError, NotFoundError
from shoal_hub.events.record import record_event
from shoal_hub.operators.roles import Principal, Scope
from shoal_hub.registry.versions import find_model

MAX_POLICIES: Final = 200
_SCOPES: Final[dict[str, Scope]] = {
    "capture": Scope.DEVICES,
    "retrain": Scope.MODELS,
    "recompress": Scope.MODELS,
}
"""What a token has to be for to have a policy do this; the other steps need what setting a policy needs."""


def scopes_of(policy: Policy) -> Collection[Scope]:
    """Return what a token has to be for, besides rollouts, to set a policy: what its steps would need by hand."""
    return {_SCOPES[step.kind] for step in policy.then if step.kind in _SCOPES}


def set_policy(session: Session, policy: Policy, *, by: Principal, now: datetime) -> PolicyRow:
    """Set a policy, in place of an earlier one of its name; as it is, nothing happens but that its author is `by`.

    A run that goes on keeps to the revision by which it began.

    Raises:
        NotFoundError: There is no such model.
        ConflictError: There are as many policies as there may be.
    """
    find_model(session, policy.model)
    row = session.get(PolicyRow, policy.name, with_for_update=True)
    body = policy.model_dump(mode="json")
    if row is None and len(session.exec(select(PolicyRow.name)).all()) >= MAX_POLICIES:
        raise ConflictError(
            f"setting the policy {policy.name}: there are {MAX_POLICIES}, which is the most",
            "forget others: shoal automation remove",
        )
    wanted = select(func.max(PolicyRevision.revision)).where(PolicyRevision.name == policy.name)
    revision = (session.exec(wanted).one() or 0) + 1
    if row is None:
        row = PolicyRow(
            name=policy.name,
            model=policy.model,
            revision=revision,
            body=body,
            set_by=by.name,
            set_by_id=by.id,
            holders=sorted(by.holders),
            set_at=now,
            since=now,
        )
    elif row.body == body:
        revision = row.revision
    else:
        row.since = now
    is_new = session.get(PolicyRevision, (policy.name, revision)) is None
    row.model, row.revision, row.body = policy.model, revision, body
    row.set_by, row.set_by_id, row.holders, row.set_at = by.name, by.id, sorted(by.holders), now
    session.add(row)
    if is_new:
        session.add(PolicyRevision(name=policy.name, revision=revision, body=body, set_by=by.name, set_at=now))
    _tell(session, policy.name, "policy_set", f"policy {policy.name} revision {revision} set by {by.name}", now)
    return row


def find_policy(session: Session, name: str, *, is_locked: bool = False) -> PolicyRow:
    """Return a policy.

    Raises:
        NotFoundError: There is none of this name.
    """
    row = session.get(PolicyRow, name, with_for_update=is_locked or None)
    if row is None:
        raise NotFoundError(f"no policy {name}", "list them: shoal automation policies")
    return row


def switch_policy(session: Session, name: str, *, on: bool, by: str, now: datetime) -> PolicyRow:
    """Have a policy look, or look no more; a run that goes on goes on.

    Raises:
        NotFoundError: There is none of this name.
    """
    row = find_policy(session, name, is_locked=True)
    if row.is_enabled != on:
        row.is_enabled, row.since = on, now
        session.add(row)
        word = "enabled" if on else "disabled"
        _tell(session, name, f"policy_{word}", f"policy {name} {word} by {by}", now)
    return row


def remove_policy(session: Session, name: str, *, by: str, now: datetime) -> None:
    """Forget a policy; its revisions and its runs stay.

    Raises:
        NotFoundError: There is none of this name.
        ConflictError: A run of it goes on.
    """
    row = find_policy(session, name, is_locked=True)
    runs = select(AutomationRun.id).where(AutomationRun.policy == name, col(AutomationRun.state).in_(sorted(OPEN)))
    if (run := session.exec(runs).first()) is not None:
        raise ConflictError(f"forgetting the policy {name}: its run {run} goes on", f"shoal automation stop {run}")
    session.delete(row)
    _tell(session, name, "policy_removed", f"policy {name} removed by {by}", now)


def _tell(session: Session, name: str, kind: str, text: str, now: datetime) -> None:
    record_event(session, kind, text, subject=f"automation/{name}", at=now)
    announce(session, "automation")
