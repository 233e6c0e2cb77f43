"""Which trace a thing belongs to: the request that asked for it last."""

from datetime import datetime

from sqlmodel import Field, SQLModel

from shoal_hub.database import UNAUDITED, UtcDateTime


class TraceContextRow(SQLModel, table=True):
    """The span that what comes of a thing follows from; there are rows only while traces are made."""

    __tablename__ = "trace_contexts"
    __table_args__ = {
        "info": UNAUDITED
    }  # who has asked for what is audited; this is where to look for how long it took

    subject: str = Field(primary_key=True, description="like rollout/r-abcdefgh, job/j-abcdefgh, desired/d-abcdefgh")
    trace_id: str = Field(index=True, description="32 hexadecimal digits")
    span_id: str = Field(description="16 hexadecimal digits; it was recorded")
    at: datetime = Field(sa_type=UtcDateTime, index=True)
