"""Routes of enrolment: the CA that a token pins, the enrolment itself, and the operators' side of tokens."""

from datetime import datetime, timedelta
from typing import Self

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field, model_validator
from sqlmodel import col, select

from shoal_contract.enrolment import EnrolmentRequest, EnrolmentResponse
from shoal_contract.errors import MessageError
from shoal_contract.limits import MAX_PACKET_BYTES
from shoal_contract.wire import parse_message
from shoal_hub.audit.actor import ENROLMENT_ROLE, Actor
from shoal_hub.database import utc_now
from shoal_hub.dependencies import EnrolOperator, Hub, Reading, Viewer, Writing, address_of
from shoal_hub.devices.enrol import enrol
from shoal_hub.devices.enrolment_tokens import create_token, revoke_token
from shoal_hub.devices.tables import EnrolmentTokenRow
from shoal_hub.error_response import documented
from shoal_hub.requests import Line

router = APIRouter()

DAY_S = 86_400


class EnrolmentBody(EnrolmentRequest):
    """A device's request, held to the rules of the contract that no schema expresses."""

    @model_validator(mode="after")
    def _check_as_message(self) -> Self:
        try:
            parse_message(EnrolmentRequest, self.to_bytes(), MAX_PACKET_BYTES)
        except MessageError as error:
            raise ValueError(str(error)) from error
        return self


class TokenCreate(BaseModel):
    """What a new enrolment token is for."""

    label: Line = ""
    expires_in_s: int = Field(default=DAY_S, ge=1, le=365 * DAY_S)
    uses: int = Field(default=1, ge=1, le=10_000)


class TokenPublic(BaseModel):
    """A token without its secret."""

    id: str
    label: str
    created_at: datetime
    created_by: str
    expires_at: datetime
    uses_left: int
    revoked_at: datetime | None


class TokenCreated(TokenPublic):
    """A new token; `token` is shown this once."""

    token: str


@router.get("/ca.pem", tags=["enrolment"], response_class=Response, summary="The CA that enrolment tokens pin")
def read_ca(hub: Hub) -> Response:
    """Return the devices' CA certificate as PEM."""
    return Response(hub.authority.certificate_pem, media_type="application/x-pem-file")


@router.post("/enrol", tags=["enrolment"], responses=documented(400, 403, 413, 422, 429))
def enrol_device(request: EnrolmentBody, hub: Hub, session: Writing, http: Request) -> EnrolmentResponse:
    """Enrol a device by one-time token and certificate signing request; a repetition returns the same device."""
    enrolled = enrol(session, hub.authority, request, utc_now())
    token = enrolled.token
    http.state.actor = Actor(token.id, token.label, ENROLMENT_ROLE, address_of(http))
    host, port = hub.broker_address()
    hub.trust.follow(session, hub.director)
    return EnrolmentResponse(
        device_id=enrolled.device.id,
        certificate_pem=enrolled.certificate_pem,
        ca_pem=hub.authority.certificate_pem,
        broker_host=host,
        broker_port=port,
        director_keys={hub.director.key_id: hub.director.public_key_hex},
        api_url=hub.api_url,
        trust_root=hub.trust.root_text(session),
    )


@router.post("/tokens", tags=["enrolment"], status_code=201, responses=documented(400, 401, 403, 413, 422))
def create_enrolment_token(body: TokenCreate, hub: Hub, session: Writing, operator: EnrolOperator) -> TokenCreated:
    """Make an enrolment token. Its text is shown once."""
    created = create_token(
        session,
        label=body.label,
        life=timedelta(seconds=body.expires_in_s),
        uses=body.uses,
        by=operator.name,
        ca_sha256=hub.authority.fingerprint,
        now=utc_now(),
    )
    return TokenCreated(**created.row.model_dump(exclude={"secret_sha256"}), token=created.text)


@router.get("/tokens", tags=["enrolment"], responses=documented(401, 403))
def list_enrolment_tokens(session: Reading, _viewer: Viewer) -> list[TokenPublic]:
    """List enrolment tokens, newest first."""
    rows = session.exec(select(EnrolmentTokenRow).order_by(col(EnrolmentTokenRow.created_at).desc()).limit(1000))
    return [TokenPublic.model_validate(row, from_attributes=True) for row in rows]


@router.delete("/tokens/{token_id}", tags=["enrolment"], responses=documented(401, 403, 404))
def revoke_enrolment_token(token_id: Line, session: Writing, operator: EnrolOperator) -> TokenPublic:
    """Withdraw a token. Devices that enrolled with it stay."""
    return TokenPublic.model_validate(
        revoke_token(session, token_id, by=operator.name, now=utc_now()), from_attributes=True
    )
