"""Fewer requests while the device is too hot or short of memory: those of the least important models go first.

`levels` and `choice` decide and know no board; `guard` looks at it and is asked by serving for each request.
"""

from shoal_agent.shedding.choice import Limits, Strain, limits_for
from shoal_agent.shedding.guard import Guard
from shoal_agent.shedding.levels import Band, Level, next_level
from shoal_agent.shedding.metrics import shedding_families

__all__ = ["Band", "Guard", "Level", "Limits", "Strain", "limits_for", "next_level", "shedding_families"]
