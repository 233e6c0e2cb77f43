"""Routes of sites: list, make, look at one, replace and end. A device is on no site unless it is put there here."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field
from sqlmodel import Session, select

from shoal_contract.ids import DeviceId, Host, Name
from shoal_contract.limits import MAX_SITE_MEMBERS
from shoal_hub.database import utc_now
from shoal_hub.dependencies import DeviceOperator, Reading, Viewer, Writing
from shoal_hub.error_response import documented
from shoal_hub.requests import Line
from shoal_hub.sites.handover import Handover, set_handover
from shoal_hub.sites.membership import (
    Layout,
    create_site,
    delete_site,
    devices_by_site,
    devices_of,
    find_site,
    replace_site,
)
from shoal_hub.sites.tables import Site

router = APIRouter(prefix="/sites", tags=["sites"])


class SiteUpdate(BaseModel):
    """What a site is to be: all of it, as what is left out is taken away."""

    cache: DeviceId
    host: Host
    """Where members reach the cache on their LAN: a name, or an address; IPv6 without brackets."""
    port: Annotated[int, Field(ge=1, le=65_535)] = 8471
    members: Annotated[list[DeviceId], Field(max_length=MAX_SITE_MEMBERS)] = []

    def layout(self) -> Layout:
        """Return it as the site's verbs take it."""
        return Layout(self.cache, self.host, self.port, frozenset(self.members))


class SiteCreate(SiteUpdate):
    """A new site."""

    name: Name


class SitePublic(BaseModel):
    """A site; `has_cache` is false once the cache was revoked, and then no device is told of it."""

    name: str
    cache: str
    host: str
    port: int
    members: list[str]
    has_cache: bool
    handover: Handover | None
    created_by: str
    created_at: datetime


@router.get("", responses=documented(401, 403))
def list_sites(session: Reading, _viewer: Viewer) -> list[SitePublic]:
    """List sites by name."""
    placed = devices_by_site(session)
    return [_shown(site, placed[site.name]) for site in session.exec(select(Site).order_by(Site.name))]


@router.post("", status_code=201, responses=documented(400, 401, 403, 404, 409, 413, 422))
def add_site(body: SiteCreate, session: Writing, operator: DeviceOperator) -> SitePublic:
    """Make a site: its cache is told of its members, and each member of the cache."""
    return _public(session, create_site(session, body.name, body.layout(), by=operator.name, now=utc_now()))


@router.get("/{name}", responses=documented(401, 403, 404, 422))
def read_site(name: Line, session: Reading, _viewer: Viewer) -> SitePublic:
    """Return one site."""
    return _public(session, find_site(session, name))


@router.put("/{name}", responses=documented(400, 401, 403, 404, 409, 413, 422))
def set_site(name: Line, body: SiteUpdate, session: Writing, operator: DeviceOperator) -> SitePublic:
    """Replace cache, address and members; a member that is left out is refused by the cache within seconds."""
    return _public(session, replace_site(session, name, body.layout(), by=operator.name, now=utc_now()))


@router.delete("/{name}", responses=documented(401, 403, 404, 422))
def end_site(name: Line, session: Writing, operator: DeviceOperator) -> SitePublic:
    """End a site; its devices stay, and fetch from the broker alone."""
    shown = _public(session, find_site(session, name))
    delete_site(session, name, by=operator.name, now=utc_now())
    return shown


@router.put("/{name}/handover", responses=documented(400, 401, 403, 404, 409, 413, 422))
def put_handover(name: Line, body: Handover, session: Writing, operator: DeviceOperator) -> SitePublic:
    """Have devices of a site pass requests that they can not take in time to those named here, who are told."""
    return _public(session, set_handover(session, name, body, by=operator.name, now=utc_now()))


@router.delete("/{name}/handover", responses=documented(401, 403, 404, 422))
def end_handover(name: Line, session: Writing, operator: DeviceOperator) -> SitePublic:
    """Have each device of a site answer its own requests."""
    return _public(session, set_handover(session, name, None, by=operator.name, now=utc_now()))


def _public(session: Session, site: Site) -> SitePublic:
    return _shown(site, devices_of(session, site.name))


def _shown(site: Site, devices: list[str]) -> SitePublic:
    return SitePublic(
        name=site.name,
        cache=site.cache_id,
        host=site.host,
        port=site.port,
        members=[one for one in devices if one != site.cache_id],
        has_cache=site.cache_id in devices,
        handover=Handover.model_validate(site.handover) if site.handover is not None else None,
        created_by=site.created_by,
        created_at=site.created_at,
    )
