"""The hub's keys and TUF metadata as its API shows them, and what travels to the keys that are kept offline."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from shoal_client.transport import Transport


class TrustKey(BaseModel):
    """One key of a role; `place` is a file of the hub or a signer's URL, empty for a key that is not at the hub."""

    key_id: str
    place: str


class TrustRole(BaseModel):
    """One role and its metadata in force; a director's role has none."""

    role: str
    version: int | None
    expires_at: datetime | None
    threshold: int
    keys: list[TrustKey]


class StagedRole(BaseModel):
    """A change that waits for signatures by keys that are kept offline."""

    role: str
    version: int
    created_at: datetime
    missing: list[str]
    """What is wanted still, in words."""
    changes: list[str]
    """What the change is, in words."""


class TrustStatus(BaseModel):
    """Every role, what waits for signatures, and what somebody should look at."""

    roles: list[TrustRole]
    staged: list[StagedRole]
    warnings: list[str]
    director_epoch: int


class SigningRequest(BaseModel):
    """TUF metadata (JSON) by role: what is in force, and what is to be signed. The file that travels, both ways."""

    model_config = ConfigDict(frozen=True)

    current: dict[str, str] = Field(max_length=8)
    staged: dict[str, str] = Field(max_length=8)


class Rotation(BaseModel):
    """What to rotate: a role, and where its next key comes from if the hub is not to make it.

    `signer` is the URL of a signer. `root` and `targets` are the metadata that a ceremony has made: its keys become
    those of the offline roles.
    """

    role: str = Field(max_length=128)
    signer: str = Field(default="", max_length=1024)
    root: str = Field(default="", max_length=512_000)
    targets: str = Field(default="", max_length=512_000)


class Trust:
    """Keys and metadata."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def status(self) -> TrustStatus:
        """Return every role, where its keys are and what waits for signatures."""
        return self._transport.call("GET", "/trust", TrustStatus)

    def rotate(self, rotation: Rotation) -> TrustStatus:
        """Give a role new keys; what offline keys must sign waits until they have."""
        return self._transport.call("POST", "/trust/rotations", TrustStatus, json=rotation.model_dump())

    def staged(self) -> SigningRequest:
        """Return what waits for signatures, to be signed elsewhere."""
        return self._transport.call("GET", "/trust/staged", SigningRequest)

    def submit(self, signed: SigningRequest) -> TrustStatus:
        """Hand in signatures; the hub publishes once there are enough."""
        return self._transport.call("POST", "/trust/staged", TrustStatus, json=signed.model_dump())

    def discard(self) -> TrustStatus:
        """Drop what waits for signatures."""
        return self._transport.call("DELETE", "/trust/staged", TrustStatus)
