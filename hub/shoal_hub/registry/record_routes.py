"""Routes of a version's records: provenance, bill of materials, model card."""

from typing import Annotated, Any

from fastapi import APIRouter, Header
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from pydantic import BaseModel

from shoal_contract.ids import Name
from shoal_hub.context import HubContext
from shoal_hub.dependencies import Hub, Reading, Viewer
from shoal_hub.error_response import documented
from shoal_hub.registry.bom import MEDIA_TYPE
from shoal_hub.registry.card import VersionCard, to_markdown
from shoal_hub.registry.records import are_kept, keep_records, read_card, read_statements
from shoal_hub.registry.tables import Version
from shoal_hub.registry.versions import find_version
from shoal_hub.requests import Line

router = APIRouter(prefix="/models/{name}/versions/{ref}", tags=["models"])

_MARKDOWN = "text/markdown"
_AS_IT_SAYS = {"x-content-type-options": "nosniff"}
Accept = Annotated[str, Header(include_in_schema=False)]


class MarkdownResponse(PlainTextResponse):
    """A page in Markdown (RFC 7763)."""

    media_type = _MARKDOWN


class StatementPublic(BaseModel):
    """A signed in-toto statement; `target` is empty for the version's own. `sha256` names the envelope's artifact."""

    target: str
    sha256: str
    statement: dict[str, Any]
    envelope: dict[str, Any]


@router.get("/provenance", responses=documented(401, 403, 404, 422))
def read_provenance(name: Name, ref: Line, hub: Hub, session: Reading, _viewer: Viewer) -> list[StatementPublic]:
    """Return where a version and each variant come from: in-toto statements in DSSE envelopes."""
    version = _with_records(hub, name, ref)
    stated = read_statements(session, hub.artifacts, version)
    return [StatementPublic.model_validate(one._asdict()) for one in stated]


@router.get(
    "/bom", response_class=Response, responses=documented(401, 403, 404, 422) | {200: {"content": {MEDIA_TYPE: {}}}}
)
def read_bom(name: Name, ref: Line, hub: Hub, _viewer: Viewer) -> Response:
    """Return a version's bill of materials (CycloneDX 1.6)."""
    return Response(hub.artifacts.read(_with_records(hub, name, ref).bom_sha256 or ""), media_type=MEDIA_TYPE)


@router.get(
    "/card",
    response_model=VersionCard,
    responses=documented(401, 403, 404, 422) | {200: {"content": {_MARKDOWN: {}}}},
)
def read_model_card(name: Name, ref: Line, session: Reading, _viewer: Viewer, accept: Accept = "") -> Response:
    """Return a version's model card; as a Markdown page to whoever accepts text/markdown."""
    card = read_card(session, find_version(session, name, ref))
    if _MARKDOWN in accept:
        return MarkdownResponse(to_markdown(card), headers=_AS_IT_SAYS)
    return JSONResponse(card.model_dump(mode="json"))


@router.get("/card.md", response_class=MarkdownResponse, responses=documented(401, 403, 404, 422))
def read_model_card_page(name: Name, ref: Line, session: Reading, _viewer: Viewer) -> Response:
    """Return a version's model card as a Markdown page."""
    return MarkdownResponse(to_markdown(read_card(session, find_version(session, name, ref))), headers=_AS_IT_SAYS)


def _with_records(hub: HubContext, name: str, ref: str) -> Version:
    """Return a version with its records; what a job has made since they were kept is stated now."""
    with hub.database.session() as session:
        version = find_version(session, name, ref)
        if are_kept(session, version):
            return version
    with hub.database.transaction() as session:
        version = find_version(session, name, ref)
        keep_records(session, hub.artifacts, hub.director.sign, version)
    return version
