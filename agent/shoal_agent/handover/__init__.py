"""Requests that this device can not take in time go to a less loaded neighbour of its site, or to a server.

By the site's policy alone. A request is passed on once at most, to who serves the very same version, with what is left
of its time; whatever goes wrong there, it is answered here. docs/adr/0028 has the reasons.
"""

from shoal_agent.handover.neighbours import Neighbours
from shoal_agent.handover.server import HandoverServer, Place

__all__ = ["HandoverServer", "Neighbours", "Place"]
