"""What the board says of itself under /sys and /proc: temperatures, throttling, power.

Every reader takes the root under which it looks, and passes over what a board does not have.
"""

from shoal_agent.board.power import Rail, power_rails
from shoal_agent.board.readings import Board, Readings
from shoal_agent.board.temperatures import Zone, hottest_c, thermal_zones, throttling_begins_c
from shoal_agent.board.throttling import Throttle, throttles

__all__ = [
    "Board",
    "Rail",
    "Readings",
    "Throttle",
    "Zone",
    "hottest_c",
    "power_rails",
    "thermal_zones",
    "throttles",
    "throttling_begins_c",
]
