"""Devices, their enrolment tokens, what features want of them, and the desired state that was made of it."""

from datetime import datetime
from typing import Any, Final, Literal

from sqlalchemy import JSON, BigInteger, ColumnElement, Index, LargeBinary, String, literal_column, text
from sqlmodel import Field, SQLModel

from shoal_hub.database import SECRET, UNAUDITED, UtcDateTime

Presence = Literal["online", "offline", "never"]
IntentKind = Literal["pin", "rollback", "rollout", "ab", "default"]
PIN: Final[ColumnElement[str]] = literal_column("'pin'")
"""A kind, as part of a statement's words: a database does not look for a parameter's value in a partial index."""
_IS_PIN: Final = text("kind = 'pin'")
JsonObject = dict[str, Any]


class Device(SQLModel, table=True):
    """One enrolled board. Presence and reported columns only move forward, by (connection, sequence)."""

    __tablename__ = "devices"
    __table_args__ = (
        Index("ix_devices_presence", "presence", "revoked_at"),
        Index(
            "ix_devices_lost",
            "presence_lost_at",
            sqlite_where=text("presence_lost_at IS NOT NULL"),
            postgresql_where=text("presence_lost_at IS NOT NULL"),
        ),
        Index(
            "ix_devices_revoked",
            "revoked_at",
            sqlite_where=text("revoked_at IS NOT NULL"),
            postgresql_where=text("revoked_at IS NOT NULL"),
        ),
    )

    id: str = Field(primary_key=True)
    name: str = Field(default="", index=True)
    group: str = Field(default="", index=True)
    tags: JsonObject = Field(default_factory=dict, sa_type=JSON)
    public_key_sha256: str = Field(index=True, description="of the key that the device uses now")
    certificate_serial: str
    certificate_expires_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    encryption_key: str | None = Field(default=None, description="X25519, hexadecimal: keys are wrapped to it")
    enrolled_at: datetime = Field(sa_type=UtcDateTime)
    revoked_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    revoked_by: str = ""
    revoke_reason: str = ""
    decommissioned_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """When it was revoked for good; what is left of it is this row, as its id is never given again."""
    cut_off_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """When the broker was seen to refuse it, once it was revoked."""
    cleared_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """When the broker was last seen to keep nothing of it, once it was decommissioned."""
    hardware: JsonObject | None = Field(default=None, sa_type=JSON(none_as_null=True))
    presence: Presence = Field(default="never", sa_type=String)
    presence_connection: int = Field(default=-1, sa_type=BigInteger)
    presence_sequence: int = Field(default=-1, sa_type=BigInteger)
    presence_since: datetime | None = Field(default=None, sa_type=UtcDateTime)
    presence_reason: str = ""
    presence_lost_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """When the hub heard that the connection of a device that still counts as online was lost."""
    last_seen_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    reported: JsonObject | None = Field(default=None, sa_type=JSON(none_as_null=True))
    reported_connection: int = Field(default=-1, sa_type=BigInteger)
    reported_sequence: int = Field(default=-1, sa_type=BigInteger)
    reported_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    reported_epoch: int = Field(default=0, sa_type=BigInteger)
    reported_generation: int = Field(default=0, sa_type=BigInteger)
    instances: list[str] = Field(
        default_factory=list, sa_type=JSON, description="starts of the agent, the last at the end"
    )
    clone_seen_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    outbox_stream: str = ""
    outbox_sequence: int = Field(default=0, sa_type=BigInteger)


class EnrolmentTokenRow(SQLModel, table=True):
    """A token that lets devices enrol into a group, with tags; only the hash of its secret is kept."""

    __tablename__ = "enrolment_tokens"

    id: str = Field(primary_key=True)
    secret_sha256: str = Field(unique=True, sa_column_kwargs={"info": SECRET})
    label: str = ""
    group: str = ""
    tags: JsonObject = Field(default_factory=dict, sa_type=JSON)
    ca_sha256: str = Field(default="", description="fingerprint of the CA that the token pins")
    created_at: datetime = Field(sa_type=UtcDateTime)
    expires_at: datetime = Field(sa_type=UtcDateTime)
    uses_left: int
    created_by: str
    revoked_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class EnrolmentUse(SQLModel, table=True):
    """One device that enrolled with a token."""

    __tablename__ = "enrolment_uses"

    token_id: str = Field(primary_key=True, foreign_key="enrolment_tokens.id", ondelete="CASCADE")
    public_key_sha256: str = Field(primary_key=True)
    device_id: str = Field(foreign_key="devices.id")
    used_at: datetime = Field(sa_type=UtcDateTime)


class Intent(SQLModel, table=True):
    """What one feature wants of one section of a device's desired state."""

    __tablename__ = "intents"
    __table_args__ = (Index("ix_intents_pins", "device_id", "section", sqlite_where=_IS_PIN, postgresql_where=_IS_PIN),)

    id: int | None = Field(default=None, primary_key=True)
    device_id: str = Field(foreign_key="devices.id", index=True)
    section: str = Field(description="like models/digits, federated/<run>, config, site")
    kind: IntentKind = Field(sa_type=String)
    owner: str = Field(index=True, description="like rollout/r-abcdefgh")
    body: JsonObject = Field(sa_type=JSON)
    created_at: datetime = Field(sa_type=UtcDateTime)
    until: datetime | None = Field(default=None, sa_type=UtcDateTime)


class DesiredRow(SQLModel, table=True):
    """The desired state that stands for a device: the signed envelope and what the composer left out."""

    __tablename__ = "desired_states"
    __table_args__ = {"info": UNAUDITED}  # made of intents, which are audited; signed anew by time

    device_id: str = Field(primary_key=True, foreign_key="devices.id")
    epoch: int = Field(sa_type=BigInteger)
    generation: int = Field(sa_type=BigInteger)
    content_sha256: str
    envelope: bytes = Field(sa_type=LargeBinary)
    issued_at: datetime = Field(sa_type=UtcDateTime)
    expires_at: datetime = Field(sa_type=UtcDateTime)
    conflicts: list[JsonObject] = Field(default_factory=list, sa_type=JSON)
