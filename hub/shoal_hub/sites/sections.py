"""What each device of a site is told of it. Pure: no device learns more than it needs."""

from collections.abc import Collection

from shoal_contract.desired import DesiredHandover, DesiredSite, HandoverPeer
from shoal_hub.sites.tables import Site


def owner_of(site: Site) -> str:
    """Return under whose name a site's intents stand."""
    return f"site/{site.name}"


def sections_of(site: Site, device_ids: Collection[str]) -> dict[str, DesiredSite]:
    """Return the section of each device: the cache's names the members, a member's names the cache alone.

    Devices that pass requests on are told of those who take them, themselves aside.

    Args:
        site: The site.
        device_ids: Its devices that may take part; without the cache among them nobody is told anything.
    """
    if site.cache_id not in device_ids:
        return {}
    cache_alone = DesiredSite(name=site.name, cache=site.cache_id, host=site.host, port=site.port)
    sections = dict.fromkeys(device_ids, cache_alone)
    members = tuple(sorted(set(device_ids) - {site.cache_id}))
    sections[site.cache_id] = cache_alone.model_copy(update={"members": members})
    for device_id, handover in _handovers(site, device_ids).items():
        sections[device_id] = sections[device_id].model_copy(update={"handover": handover})
    return sections


def _handovers(site: Site, device_ids: Collection[str]) -> dict[str, DesiredHandover]:
    if site.handover is None:
        return {}
    named = [HandoverPeer.model_validate(one) for one in site.handover["peers"]]
    there = [one for one in named if one.device is None or one.device in device_ids]
    handovers = {}
    for device_id in {one.device for one in there if one.device is not None}:
        peers = tuple(one for one in there if one.device != device_id)
        if peers:
            handovers[device_id] = DesiredHandover(peers=peers, patience_ms=site.handover["patience_ms"])
    return handovers
