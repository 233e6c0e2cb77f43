"""Routes of devices without a token: authorise keys, and accept or reject those that wait."""

from datetime import datetime, timedelta
from typing import Annotated, Self

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field, model_validator
from sqlmodel import col, select

from shoal_contract.ids import SHA256_PATTERN, Name, Sha256
from shoal_contract.reported import Hardware
from shoal_hub.database import utc_now
from shoal_hub.dependencies import EnrolOperator, Reading, Viewer, Writing
from shoal_hub.devices.admission_tables import AuthorisedKey, PendingState
from shoal_hub.devices.keyless import KeyTerms, accept, authorise_keys, list_pending, reject, withdraw_key
from shoal_hub.error_response import documented
from shoal_hub.requests import GroupName, Line

router = APIRouter(tags=["enrolment"])
Fingerprint = Annotated[str, Path(pattern=SHA256_PATTERN)]
_DAY_S = 86_400


class Given(BaseModel):
    """What a device gets when it enrols; without a name it keeps its own."""

    name: Annotated[Line, Field(max_length=64)] = ""
    group: GroupName = ""
    tags: Annotated[dict[Name, Line], Field(max_length=64)] = {}


class KeyAuthorise(Given):
    """A key that may enrol, and what its device gets."""

    key_sha256: Sha256
    expires_in_s: int | None = Field(default=None, ge=1, le=10 * 365 * _DAY_S)

    def terms(self, now: datetime) -> KeyTerms:
        """Return the same with a time."""
        expires_at = None if self.expires_in_s is None else now + timedelta(seconds=self.expires_in_s)
        return KeyTerms(self.key_sha256, self.name, self.group, self.tags, expires_at)


class KeysAuthorise(BaseModel):
    """One or many keys; all are authorised or none."""

    keys: list[KeyAuthorise] = Field(min_length=1, max_length=1000)

    @model_validator(mode="after")
    def _check_each_is_named_once(self) -> Self:
        names = [one.key_sha256 for one in self.keys]
        twice = {name for name in names if names.count(name) > 1} if len(set(names)) < len(names) else set()
        if twice:
            msg = f"the key {min(twice)} is named twice"
            raise ValueError(msg)
        return self


class AuthorisedKeyPublic(BaseModel):
    """A key that may enrol, or the device that it became."""

    key_sha256: str
    name: str
    group: str
    tags: dict[str, str]
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    device_id: str | None


class PendingPublic(BaseModel):
    """A device that asked without a token."""

    key_sha256: str
    name: str
    hardware: Hardware
    address: str
    state: PendingState
    group: str
    tags: dict[str, str]
    first_asked_at: datetime
    last_asked_at: datetime
    decided_by: str


@router.post("/authorised-keys", status_code=201, responses=documented(400, 401, 403, 409, 413, 422))
def authorise(body: KeysAuthorise, session: Writing, operator: EnrolOperator) -> list[AuthorisedKeyPublic]:
    """Let devices with these keys enrol without a token."""
    now = utc_now()
    rows = authorise_keys(session, [one.terms(now) for one in body.keys], by=operator.name, now=now)
    return [AuthorisedKeyPublic.model_validate(row, from_attributes=True) for row in rows]


@router.get("/authorised-keys", responses=documented(401, 403, 422))
def list_authorised_keys(
    session: Reading,
    _viewer: Viewer,
    limit: Annotated[int, Query(ge=1, le=1000)] = 1000,
    offset: Annotated[int, Query(ge=0, le=10_000_000)] = 0,
) -> list[AuthorisedKeyPublic]:
    """List authorised keys, newest first."""
    order = (col(AuthorisedKey.created_at).desc(), col(AuthorisedKey.key_sha256))
    rows = session.exec(select(AuthorisedKey).order_by(*order).limit(limit).offset(offset))
    return [AuthorisedKeyPublic.model_validate(row, from_attributes=True) for row in rows]


@router.delete("/authorised-keys/{key_sha256}", status_code=204, responses=documented(401, 403, 404, 422))
def withdraw(key_sha256: Fingerprint, session: Writing, operator: EnrolOperator) -> None:
    """Withdraw an authorised key; a device that has enrolled with it stays."""
    withdraw_key(session, key_sha256, by=operator.name)


@router.get("/enrolments", responses=documented(401, 403, 422))
def list_enrolments(
    session: Reading, _viewer: Viewer, limit: Annotated[int, Query(ge=1, le=1000)] = 1000
) -> list[PendingPublic]:
    """List devices that asked without a token: those that wait first."""
    return [PendingPublic.model_validate(row, from_attributes=True) for row in list_pending(session, limit)]


@router.post("/enrolments/{key_sha256}/accept", responses=documented(400, 401, 403, 404, 409, 413, 422))
def accept_enrolment(key_sha256: Fingerprint, body: Given, session: Writing, operator: EnrolOperator) -> PendingPublic:
    """Let a device that waits enrol; compare the fingerprint with what the device shows first."""
    row = accept(session, KeyTerms(key_sha256, body.name, body.group, body.tags), by=operator.name)
    return PendingPublic.model_validate(row, from_attributes=True)


@router.post("/enrolments/{key_sha256}/reject", responses=documented(401, 403, 404, 422))
def reject_enrolment(key_sha256: Fingerprint, session: Writing, operator: EnrolOperator) -> PendingPublic:
    """Refuse a device that waits."""
    return PendingPublic.model_validate(reject(session, key_sha256, by=operator.name), from_attributes=True)
