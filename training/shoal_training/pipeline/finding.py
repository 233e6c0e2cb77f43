"""How a run asks for a model that is elsewhere: training knows no hub, whoever runs it may."""

from collections.abc import Callable
from pathlib import Path

ChampionFinder = Callable[[str], Path | None]
"""Returns the bundle folder of a `name@alias`; None: there is none of that name yet."""
