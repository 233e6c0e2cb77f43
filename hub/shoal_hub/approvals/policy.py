"""How many approvals a thing needs, by the model's policy."""

from sqlmodel import Session

from shoal_hub.approvals.tables import ApprovalPolicy, Kind
from shoal_hub.database import announce
from shoal_hub.errors import ConflictError
from shoal_hub.events.record import record_event
from shoal_hub.registry.tables import Model
from shoal_hub.registry.versions import find_model


def read_policy(session: Session, model: str) -> ApprovalPolicy:
    """Return a model's policy; one that asks nobody where none was set.

    Raises:
        NotFoundError: There is no such model.
    """
    name = find_model(session, model).name
    return session.get(ApprovalPolicy, name) or ApprovalPolicy(model=name)


def set_policy(session: Session, model: str, *, production: int, rollout: int, by: str) -> ApprovalPolicy:
    """Set a model's policy. What waits already needs what it was asked for with, or more if the policy now asks more.

    Raises:
        NotFoundError: There is no such model.
    """
    session.get(Model, model, with_for_update=True)  # two admins at once come one after the other
    row = read_policy(session, model)
    row.production, row.rollout = production, rollout
    session.add(row)
    message = f"{model}: production needs {production} and a rollout {rollout} approvals, set by {by}"
    record_event(session, "approval_policy", message, subject=f"model/{model}")
    announce(session, "models")
    return row


def require_none_needed(session: Session, model: str, kind: Kind) -> None:
    """Hold the policy still until the session ends, and see that it asks nobody: it may have changed since it was read.

    Raises:
        ConflictError: It asks for approvals now.
        NotFoundError: There is no such model.
    """
    session.get(Model, model, with_for_update=True)  # as `set_policy` does
    if approvals_needed(session, model, kind):
        raise ConflictError(
            f"{model}: its policy asks for approvals, which this does not wait for",
            f"roll it out instead, and it waits: shoal rollouts start {model} VERSION --device DEVICE; or ask again",
        )


def approvals_needed(session: Session, model: str, kind: Kind) -> int:
    """Return how many approvals a rollout, one of its waves, or a move to production, of the model needs.

    A wave needs what its rollout needs. So does a move that starts a rollout: no rollout goes around the policy.

    Raises:
        NotFoundError: There is no such model.
    """
    policy = read_policy(session, model)
    if kind in {"rollout", "wave"}:
        return policy.rollout
    starts_rollout = find_model(session, model).rollout_on_production is not None
    return max(policy.production, policy.rollout if starts_rollout else 0)
