"""Leases on artifacts, what is retained at the broker and by which deltas, and blobs that devices upload."""

from datetime import datetime
from typing import Literal

from sqlalchemy import JSON, BigInteger, LargeBinary, String
from sqlmodel import Field, SQLModel

from shoal_contract.encryption import EncryptedFile
from shoal_contract.transfer import DeltaRef
from shoal_hub.database import UNAUDITED, UtcDateTime

RetainedState = Literal["publishing", "standing", "withdrawing"]
DeltaState = Literal["making", "made", "useless", "failed"]
UploadState = Literal["credited", "stored", "refused"]


class Lease(SQLModel, table=True):
    """One user's need of one artifact at the broker; users are like `rollout/r-abcdefgh`."""

    __tablename__ = "leases"
    __table_args__ = {"info": UNAUDITED}  # what rollouts and rounds need, which are audited

    sha256: str = Field(primary_key=True, foreign_key="artifacts.sha256")
    user: str = Field(primary_key=True, index=True)
    created_at: datetime = Field(sa_type=UtcDateTime)


class Retained(SQLModel, table=True):
    """An artifact whose chunks are, or are about to be, at the broker."""

    __tablename__ = "retained"
    __table_args__ = {"info": UNAUDITED}  # what the leases come to at the broker

    sha256: str = Field(primary_key=True)
    size_bytes: int = Field(sa_type=BigInteger)
    chunk_bytes: int
    state: RetainedState = Field(default="publishing", sa_type=String, index=True)
    deltas: list[str] = Field(default_factory=list, sa_type=JSON, description="bases that its manifest names")
    changed_at: datetime = Field(sa_type=UtcDateTime)


class ChunkList(SQLModel, table=True):
    """The hashes of an artifact's chunks of one size, each of 32 bytes, one after the other."""

    __tablename__ = "chunk_lists"
    __table_args__ = {"info": UNAUDITED}  # follows from the artifact

    sha256: str = Field(primary_key=True, foreign_key="artifacts.sha256", ondelete="CASCADE")
    chunk_bytes: int = Field(primary_key=True)
    size_bytes: int = Field(sa_type=BigInteger)
    digests: bytes = Field(sa_type=LargeBinary)


class Delta(SQLModel, table=True):
    """A patch between two files that the fleet runs, each by the hash of what travels of it; made once for each pair.

    `sha256` and `size_bytes` are the plain patch's. `artifact_sha256` is what travels, and all that is stored: of a
    patch that is encrypted the ciphertext. Not audited: the rollout that asks for it is, and so is the job's end.
    """

    __tablename__ = "deltas"
    __table_args__ = {"info": UNAUDITED}

    base_sha256: str = Field(primary_key=True, foreign_key="artifacts.sha256")
    result_sha256: str = Field(primary_key=True, foreign_key="artifacts.sha256", index=True)
    state: DeltaState = Field(default="making", sa_type=String)
    why: str = Field(default="", description="of a patch that is useless or failed")
    job_id: str = Field(foreign_key="jobs.id")
    artifact_sha256: str | None = Field(default=None, foreign_key="artifacts.sha256")
    sha256: str | None = None
    size_bytes: int | None = Field(default=None, sa_type=BigInteger)
    encrypted_size_bytes: int | None = Field(default=None, sa_type=BigInteger)

    @property
    def ref(self) -> DeltaRef | None:
        """The patch as a transfer manifest names it; None before it is made."""
        if self.sha256 is None or self.size_bytes is None or self.artifact_sha256 is None:
            return None
        size_bytes = self.encrypted_size_bytes
        secret = EncryptedFile(sha256=self.artifact_sha256, size_bytes=size_bytes) if size_bytes is not None else None
        return DeltaRef(sha256=self.sha256, size_bytes=self.size_bytes, encrypted=secret)


class Watermark(SQLModel, table=True):
    """How far the broker has been told desired states; the broker keeps the same value, retained."""

    __tablename__ = "watermarks"
    __table_args__ = {"info": UNAUDITED}  # how far publishing is

    id: int = Field(default=1, primary_key=True)
    epoch: int = Field(sa_type=BigInteger)
    sequence: int = Field(sa_type=BigInteger, description="issue time, Unix microseconds, of the newest state told")


class Upload(SQLModel, table=True):
    """A blob that a device offered; its chunks lie in `uploads/` until it is whole."""

    __tablename__ = "uploads"
    __table_args__ = {"info": UNAUDITED}  # what devices send; a quota bounds it

    sha256: str = Field(primary_key=True)
    device_id: str = Field(primary_key=True, foreign_key="devices.id")
    size_bytes: int = Field(sa_type=BigInteger)
    chunk_bytes: int
    purpose: str
    about: str = Field(
        default="",
        sa_column_kwargs={"server_default": ""},
        description="of a capture: its model; of answers: their batch job",
    )
    state: UploadState = Field(default="credited", sa_type=String, index=True)
    reason: str = ""
    received_bytes: int = Field(
        default=0, sa_type=BigInteger, sa_column_kwargs={"server_default": "0"}, description="that came of it before"
    )
    changed_at: datetime = Field(sa_type=UtcDateTime)
