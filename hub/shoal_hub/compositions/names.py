"""A composition is asked as a model is, so that the two share their names."""

from sqlmodel import Session

from shoal_hub.compositions.tables import CompositionRow
from shoal_hub.database import AdvisoryLock, hold
from shoal_hub.errors import ConflictError


def require_free_name(session: Session, name: str) -> None:
    """See that a new model would not have the name of a composition, nor one made before this transaction has ended.

    Raises:
        ConflictError: It would.
    """
    hold(session, AdvisoryLock.COMPOSITIONS)
    if session.get(CompositionRow, name) is not None:
        raise ConflictError(f"making the model {name}: there is a composition of this name", "give it another name")
