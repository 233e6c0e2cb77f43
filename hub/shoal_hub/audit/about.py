"""What the trail says of one thing, for the feature that shows its history."""

from sqlmodel import Session, col, or_, select

from shoal_hub.audit.entry import Entry
from shoal_hub.audit.tables import AuditEntry


def entries_about(session: Session, subject: str, limit: int) -> list[Entry]:
    """Return the last entries about a thing and all below it, like `rollouts/r-abcdefgh`, the oldest first."""
    named = col(AuditEntry.subject)
    wanted = select(AuditEntry).where(or_(named == subject, named.startswith(f"{subject}/", autoescape=True)))
    rows = session.exec(wanted.order_by(col(AuditEntry.sequence).desc()).limit(limit)).all()
    return [row.to_entry() for row in reversed(rows)]
