"""Routes of enrolment: the CA that a token pins, the enrolment itself, and the operators' side of tokens."""

from datetime import datetime, timedelta
from typing import Annotated, Any, Self

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field, model_validator
from sqlmodel import col, select

from shoal_contract.enrolment import EnrolmentPending, EnrolmentRequest, EnrolmentResponse, RenewalResponse
from shoal_contract.errors import MessageError
from shoal_contract.ids import Name
from shoal_contract.limits import MAX_PACKET_BYTES
from shoal_contract.wire import parse_message
from shoal_hub.audit.actor import DEVICE_ROLE, ENROLMENT_ROLE, Actor
from shoal_hub.audit.requests import ALWAYS
from shoal_hub.database import utc_now
from shoal_hub.dependencies import EnrolOperator, Hub, Reading, Viewer, Writing, address_of
from shoal_hub.devices.enrol import enrol
from shoal_hub.devices.enrolment_tokens import TokenTerms, UnknownTokenError, create_token, revoke_token
from shoal_hub.devices.renew import MAX_RENEWAL_BYTES, renew
from shoal_hub.devices.tables import EnrolmentTokenRow
from shoal_hub.error_response import documented
from shoal_hub.requests import GroupName, Line

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
    group: GroupName = ""
    tags: Annotated[dict[Name, Line], Field(max_length=64)] = {}


class TokenPublic(BaseModel):
    """A token without its secret."""

    id: str
    label: str
    group: str
    tags: dict[str, str]
    ca_sha256: str
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
    """Return the CA certificates that are trusted as PEM, the one that signs first."""
    return Response(hub.authority.certificate_pem, media_type="application/x-pem-file")


@router.post(
    "/enrol",
    tags=["enrolment"],
    response_model=EnrolmentResponse,
    responses={**documented(400, 403, 409, 413, 422, 429), 202: {"model": EnrolmentPending, "description": "Waits"}},
)
def enrol_device(request: EnrolmentBody, hub: Hub, session: Writing, http: Request) -> EnrolmentResponse | JSONResponse:
    """Enrol a device by its certificate signing request; a repetition gets the same certificate.

    It comes with a one-time token, with a key that was authorised, or waits (202) until an operator accepts it.
    """
    address = address_of(http)
    session.info[ALWAYS] = False  # a device that waits asks every half minute
    if request.token:
        hub.guesses.check(address)
    try:
        enrolled = enrol(session, hub.authority, hub.settings, request, utc_now(), address)
    except UnknownTokenError:
        hub.guesses.note(address)
        raise
    if isinstance(enrolled, EnrolmentPending):
        http.state.actor = Actor(enrolled.key_sha256, request.name, DEVICE_ROLE, address)
        return JSONResponse(enrolled.model_dump(mode="json"), 202)
    device, token = enrolled.device, enrolled.token
    http.state.actor = (
        Actor(device.public_key_sha256, device.name, DEVICE_ROLE, address)
        if token is None
        else Actor(token.id, token.label, ENROLMENT_ROLE, address)
    )
    host, port = hub.broker_address()
    return EnrolmentResponse(
        device_id=device.id,
        certificate_pem=enrolled.certificate_pem,
        ca_pem=hub.authority.certificate_pem,
        broker_host=host,
        broker_port=port,
        api_url=hub.api_url,
        trust_root=hub.trust.root_text(session),
    )


async def _envelope(request: Request) -> bytes:
    return await request.body()


_ENVELOPE: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": f"A DSSE envelope around a RenewalRequest, at most {MAX_RENEWAL_BYTES} bytes",
        "content": {"application/json": {"schema": {"type": "object"}}},
    }
}


@router.post("/renew", tags=["enrolment"], responses=documented(400, 403, 409, 413, 422, 429), openapi_extra=_ENVELOPE)
def renew_certificate(
    envelope: Annotated[bytes, Depends(_envelope)], hub: Hub, session: Writing, http: Request
) -> RenewalResponse:
    """Give a device a certificate for its next key, by an envelope that its present key has signed."""
    session.info[ALWAYS] = False  # who asks again gets the same certificate
    renewed = renew(session, hub.authority, hub.settings, envelope, utc_now())
    http.state.actor = Actor(renewed.device.id, renewed.device.name, DEVICE_ROLE, address_of(http))
    return RenewalResponse(certificate_pem=renewed.certificate_pem, ca_pem=hub.authority.certificate_pem)


@router.post("/tokens", tags=["enrolment"], status_code=201, responses=documented(400, 401, 403, 409, 413, 422))
def create_enrolment_token(body: TokenCreate, hub: Hub, session: Writing, operator: EnrolOperator) -> TokenCreated:
    """Make an enrolment token. Its text is shown once."""
    terms = TokenTerms(body.label, timedelta(seconds=body.expires_in_s), body.uses, body.group, body.tags)
    created = create_token(session, terms, by=operator.name, ca_sha256=hub.authority.fingerprint, now=utc_now())
    return TokenCreated(**created.row.model_dump(exclude={"secret_sha256"}), token=created.text)


@router.get("/tokens", tags=["enrolment"], responses=documented(401, 403))
def list_enrolment_tokens(session: Reading, _viewer: Viewer) -> list[TokenPublic]:
    """List enrolment tokens, newest first."""
    rows = session.exec(select(EnrolmentTokenRow).order_by(col(EnrolmentTokenRow.created_at).desc()).limit(1000))
    return [TokenPublic.model_validate(row, from_attributes=True) for row in rows]


@router.delete("/tokens/{token_id}", tags=["enrolment"], responses=documented(401, 403, 404, 422))
def revoke_enrolment_token(token_id: Line, session: Writing, operator: EnrolOperator) -> TokenPublic:
    """Withdraw a token. Devices that enrolled with it stay."""
    return TokenPublic.model_validate(
        revoke_token(session, token_id, by=operator.name, now=utc_now()), from_attributes=True
    )
