"""Which models are loaded: within the owner's budget of memory, by the owner's priorities, and as somebody asks.

A model that gives way stays on the disk and in its roles; it is loaded again when it is asked, or when it is told to.
"""

from shoal_agent.residency.api import memory_routes
from shoal_agent.residency.choice import Preview, Resident, preview
from shoal_agent.residency.errors import EvictedError, MemoryBudgetError, UnloadedError
from shoal_agent.residency.notes import ResidencyNotes
from shoal_agent.residency.repository import DeviceRepository
from shoal_agent.residency.residency import Residency

__all__ = [
    "DeviceRepository",
    "EvictedError",
    "MemoryBudgetError",
    "Preview",
    "Residency",
    "ResidencyNotes",
    "Resident",
    "UnloadedError",
    "memory_routes",
    "preview",
]
