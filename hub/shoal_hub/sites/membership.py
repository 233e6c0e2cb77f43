"""Makes, changes and ends sites, and lets a revoked device leave. What devices are told follows by intents."""

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, delete, select

from shoal_hub.devices.compose import SITE
from shoal_hub.devices.intents import set_intents_of
from shoal_hub.devices.tables import Device
from shoal_hub.errors import ConflictError, NotFoundError
from shoal_hub.events.record import record_event
from shoal_hub.sites.sections import owner_of, sections_of
from shoal_hub.sites.tables import Site, SiteDevice


@dataclass(frozen=True)
class Layout:
    """Who is on a site, and where its cache is reached.

    Attributes:
        cache: The device that serves.
        host: Its name or address on the LAN.
        port: Its port there.
        members: The devices that it serves.
    """

    cache: str
    host: str
    port: int
    members: Collection[str]

    @property
    def devices(self) -> set[str]:
        """The cache and its members."""
        return {self.cache, *self.members}


def create_site(session: Session, name: str, layout: Layout, *, by: str, now: datetime) -> Site:
    """Make a site.

    Raises:
        ConflictError: The name is taken, or a device is revoked or on another site.
        NotFoundError: There is no such device.
    """
    _take_devices(session, name, layout)
    site = Site(name=name, cache_id=layout.cache, host=layout.host, port=layout.port, created_by=by, created_at=now)
    session.add(site)
    try:
        session.flush()
    except IntegrityError as error:
        raise ConflictError(
            f"there is a site {name} already", "choose another name, or change it: shoal sites set"
        ) from error
    _place(session, site, layout.devices, now)
    record_event(session, "site_created", f"site {name} made by {by}, cache {layout.cache}", subject=f"site/{name}")
    return site


def replace_site(session: Session, name: str, layout: Layout, *, by: str, now: datetime) -> Site:
    """Give a site another cache, address or other members; only devices for which something changes are told.

    Raises:
        ConflictError: A device is revoked or on another site.
        NotFoundError: There is no such site or device.
    """
    _take_devices(session, name, layout)
    site = find_site(session, name, is_locked=True)
    site.cache_id, site.host, site.port = layout.cache, layout.host, layout.port
    session.add(site)
    _place(session, site, layout.devices, now)
    record_event(session, "site_changed", f"site {name} changed by {by}", subject=f"site/{name}")
    return site


def delete_site(session: Session, name: str, *, by: str, now: datetime) -> Site:
    """End a site: its devices fetch from the broker alone again.

    Raises:
        NotFoundError: There is no such site.
    """
    site = find_site(session, name, is_locked=True)
    _place(session, site, set(), now)
    session.delete(site)
    record_event(session, "site_deleted", f"site {name} ended by {by}", subject=f"site/{name}")
    return site


def leave_site(session: Session, device_id: str, now: datetime) -> None:
    """Take a revoked device out of its site: its cache, or its neighbours where it was the cache, hear of it at once.

    Args:
        session: An open transaction in which the device was revoked.
        device_id: The device; one that is on no site is left alone.
        now: The clock.
    """
    session.flush()  # whoever puts the device on a site meanwhile waits, and then sees that it is revoked
    row = session.get(SiteDevice, device_id)
    site = session.get(Site, row.site, with_for_update=True) if row is not None else None
    if site is None:  # never on one, or its site has just ended
        return
    _place(session, site, set(devices_of(session, site.name)) - {device_id}, now)


def find_site(session: Session, name: str, *, is_locked: bool = False) -> Site:
    """Return a site by name; locked, nobody else changes it before this transaction has ended.

    Raises:
        NotFoundError: There is none.
    """
    wanted = select(Site).where(Site.name == name)
    site = session.exec(wanted.with_for_update() if is_locked else wanted).first()
    if site is None:
        raise NotFoundError(f"no site {name}", "list them: shoal sites list")
    return site


def devices_of(session: Session, name: str) -> list[str]:
    """Return the devices of a site by id, its cache among them unless that was revoked."""
    wanted = select(SiteDevice.device_id).where(SiteDevice.site == name)
    return list(session.exec(wanted.order_by(SiteDevice.device_id)))


def devices_by_site(session: Session) -> defaultdict[str, list[str]]:
    """Return the devices of every site, as `devices_of` does."""
    placed: defaultdict[str, list[str]] = defaultdict(list)
    for site, device_id in session.exec(select(SiteDevice.site, SiteDevice.device_id).order_by(SiteDevice.device_id)):
        placed[site].append(device_id)
    return placed


def tell_devices(session: Session, site: Site, now: datetime) -> None:
    """Tell the devices of a site what holds on it now."""
    _place(session, site, set(devices_of(session, site.name)), now)


def _take_devices(session: Session, name: str, layout: Layout) -> None:
    """Hold the devices until the transaction ends, and see that each may be on this site."""
    wanted = select(Device).where(col(Device.id).in_(layout.devices)).order_by(col(Device.id)).with_for_update()
    found = {device.id: device for device in session.exec(wanted)}
    if missing := sorted(layout.devices - found.keys()):
        raise NotFoundError(f"placing devices on site {name}: no device {missing[0]}", "list them: shoal devices list")
    if revoked := sorted(one.id for one in found.values() if one.revoked_at is not None):
        raise ConflictError(
            f"placing devices on site {name}: {revoked[0]} was revoked, and can be told nothing", "leave it out"
        )
    elsewhere = select(SiteDevice).where(col(SiteDevice.device_id).in_(layout.devices), SiteDevice.site != name)
    if taken := session.exec(elsewhere.order_by(SiteDevice.device_id)).first():
        raise ConflictError(
            f"placing devices on site {name}: {taken.device_id} is on site {taken.site}; a device is on one at most",
            f"take it out there first: shoal sites set {taken.site} --remove {taken.device_id}",
        )


def _place(session: Session, site: Site, device_ids: set[str], now: datetime) -> None:
    standing = set(devices_of(session, site.name))
    if gone := standing - device_ids:
        session.exec(delete(SiteDevice).where(col(SiteDevice.device_id).in_(gone)))
    session.add_all(SiteDevice(device_id=one, site=site.name) for one in sorted(device_ids - standing))
    wanted = sections_of(site, device_ids)
    set_intents_of(session, owner_of(site), SITE, kind="default", wanted=wanted, now=now)
