"""The site's cache: one device on a LAN serves verified artifacts to the neighbours that the hub has named.

Whoever the hub's signed desired state names as the cache serves, if its own settings allow it; the others ask it
before the broker. What it says is checked as what the broker says, and whatever goes wrong there costs a bounded time.
"""

from shoal_agent.site.site import Site

__all__ = ["Site"]
