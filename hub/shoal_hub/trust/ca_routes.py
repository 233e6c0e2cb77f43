"""Routes of the devices' CA: how far a change of it is, and its three steps."""

from fastapi import APIRouter
from pydantic import BaseModel

from shoal_hub.database import utc_now
from shoal_hub.dependencies import Admin, Hub, Reading, Viewer, Writing
from shoal_hub.error_response import documented
from shoal_hub.trust.generations import Phase
from shoal_hub.trust.rotation import announce_ca, finish_ca, rotation_status, switch_ca

router = APIRouter(prefix="/trust/ca", tags=["trust"])


class CaRotation(BaseModel):
    """How far a change of the devices' CA is, and who still depends on the old one."""

    phase: Phase
    issuing: str
    trusted: list[str]
    devices_left: int
    tokens_left: int


class CaFinish(BaseModel):
    """Whether to leave behind who still depends on the old CA."""

    force: bool = False


@router.get("", responses=documented(401, 403))
def read_ca_rotation(hub: Hub, session: Reading, _viewer: Viewer) -> CaRotation:
    """Return how far a change of the devices' CA is."""
    return _status(hub, session)


@router.post("/announce", responses=documented(401, 403, 409))
def announce(hub: Hub, session: Writing, admin: Admin) -> CaRotation:
    """Make a new CA, and have devices trust it beside the present one."""
    announce_ca(session, hub.authority, hub.trust.publish_ca_bundle, by=admin.name)
    return _status(hub, session)


@router.post("/switch", responses=documented(401, 403, 409))
def switch(hub: Hub, session: Writing, admin: Admin) -> CaRotation:
    """Sign by the new CA from now on."""
    switch_ca(session, hub.authority, by=admin.name)
    return _status(hub, session)


@router.post("/finish", responses=documented(400, 401, 403, 409, 413, 422))
def finish(body: CaFinish, hub: Hub, session: Writing, admin: Admin) -> CaRotation:
    """Trust the new CA alone; refused while devices or tokens depend on the old one, unless forced."""
    finish_ca(session, hub.authority, hub.trust.publish_ca_bundle, by=admin.name, is_forced=body.force, now=utc_now())
    return _status(hub, session)


def _status(hub: Hub, session: Reading) -> CaRotation:
    return CaRotation.model_validate(rotation_status(session, hub.authority, utc_now()), from_attributes=True)
