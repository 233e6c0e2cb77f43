"""Operators' tokens. Only the hash of a token is kept."""

from datetime import datetime

from sqlmodel import Field, SQLModel

from shoal_hub.database import SECRET, UtcDateTime


class OperatorToken(SQLModel, table=True):
    """A token that lets a person or a program use the API under `name`."""

    __tablename__ = "operator_tokens"

    id: str = Field(primary_key=True)
    name: str
    secret_sha256: str = Field(unique=True, sa_column_kwargs={"info": SECRET})
    created_at: datetime = Field(sa_type=UtcDateTime)
    revoked_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
