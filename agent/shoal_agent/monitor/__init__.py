"""What each served model sees, as constant-memory counts against its manifest's baseline.

Raw inputs never leave this package. Finished windows go to the outbox; drift is decided at the hub.
"""

from shoal_agent.monitor.answers import Fate, LabelError, LabelSettings
from shoal_agent.monitor.monitor import Labelled, Monitor
from shoal_agent.monitor.truths import Truth
from shoal_agent.monitor.window import FinishedWindow

__all__ = ["Fate", "FinishedWindow", "LabelError", "LabelSettings", "Labelled", "Monitor", "Truth"]
