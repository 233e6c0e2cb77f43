"""Whether devices of a site pass requests on to each other, and to whom: the policy, and how it is set."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from sqlmodel import Session

from shoal_contract.desired import HandoverPeer
from shoal_contract.limits import MAX_HANDOVER_PEERS
from shoal_hub.errors import ConflictError, InvalidInputError
from shoal_hub.events.record import record_event
from shoal_hub.sites.membership import devices_of, find_site, tell_devices
from shoal_hub.sites.tables import Site


class Handover(BaseModel):
    """Who takes requests of the site's others: devices of the site, which pass their own on as well, and servers."""

    model_config = ConfigDict(frozen=True)

    peers: Annotated[list[HandoverPeer], Field(min_length=1, max_length=MAX_HANDOVER_PEERS + 1)]
    patience_ms: Annotated[int, Field(ge=0, le=60_000)] = 50
    """A request that would wait for longer than this is passed on."""


def set_handover(session: Session, name: str, handover: Handover | None, *, by: str, now: datetime) -> Site:
    """Have a site's devices pass requests on, or, with None, answer their own; each of them is told.

    Raises:
        ConflictError: A device that takes requests is not on the site.
        InvalidInputError: One is named twice, or there are too many for one device.
        NotFoundError: There is no such site.
    """
    site = find_site(session, name, is_locked=True)
    if handover is not None:
        _check(session, name, handover)
    site.handover = handover.model_dump(mode="json") if handover is not None else None
    session.add(site)
    session.flush()
    tell_devices(session, site, now)
    how = f"pass requests on among {len(handover.peers)}" if handover is not None else "answer their own requests"
    record_event(session, "site_changed", f"site {name}: its devices {how}, by {by}", subject=f"site/{name}")
    return site


def _check(session: Session, name: str, handover: Handover) -> None:
    devices = [peer.device for peer in handover.peers if peer.device is not None]
    if len(set(devices)) < len(devices):
        raise InvalidInputError(f"handing over on site {name}: a device is named twice", "name each once")
    if len(handover.peers) - bool(devices) > MAX_HANDOVER_PEERS:
        message = f"handing over on site {name}: {len(handover.peers)} found, {MAX_HANDOVER_PEERS} and itself at most"
        raise InvalidInputError(message, "name fewer: those with the most to spare")
    if elsewhere := sorted(set(devices) - set(devices_of(session, name))):
        message = f"handing over on site {name}: {elsewhere[0]} is not on this site"
        raise ConflictError(message, f"add it: shoal sites set {name} --add {elsewhere[0]}")
