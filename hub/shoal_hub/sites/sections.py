"""What each device of a site is told of it. Pure: no device learns more than it needs."""

from collections.abc import Collection

from shoal_contract.desired import DesiredSite
from shoal_hub.sites.tables import Site


def owner_of(site: Site) -> str:
    """Return under whose name a site's intents stand."""
    return f"site/{site.name}"


def sections_of(site: Site, device_ids: Collection[str]) -> dict[str, DesiredSite]:
    """Return the section of each device: the cache's names the members, a member's names the cache alone.

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
    return sections
