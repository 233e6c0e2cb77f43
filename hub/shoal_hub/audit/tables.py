"""The trail's table. Triggers of the database refuse to change or delete a row (migration 0007)."""

from datetime import datetime

from sqlalchemy import BigInteger, Text
from sqlmodel import Field, SQLModel

from shoal_hub.audit.entry import Entry
from shoal_hub.database import UNAUDITED, UtcDateTime


class AuditEntry(SQLModel, table=True):
    """One change. `before` and `after` are canonical JSON texts, stored as they were hashed."""

    __tablename__ = "audit_entries"
    __table_args__ = {"info": UNAUDITED}  # the trail itself

    sequence: int = Field(primary_key=True, sa_type=BigInteger, sa_column_kwargs={"autoincrement": False})
    at: datetime = Field(sa_type=UtcDateTime)
    actor_id: str = Field(index=True)
    actor_name: str
    actor_role: str
    actor_address: str
    action: str = Field(index=True)
    subject: str = Field(index=True)
    before: str = Field(sa_type=Text)
    after: str = Field(sa_type=Text)
    previous_sha256: str
    sha256: str

    def to_entry(self) -> Entry:
        """Return the row as the chain sees it."""
        return Entry(**{name: getattr(self, name) for name in Entry.__dataclass_fields__})
