"""Features of event streams: windows by count and time, and sessions, as partial aggregates vectorised over entities.

Events come in batches and features leave as windows close; how events were cut into batches changes nothing. The
definitions are `shoal_contract.features`, where the events come from and go to is the agent's.
"""

from shoal_numerics.features.plan import MAX_STATE_BYTES, WindowPlan
from shoal_numerics.features.state import begin_windows, dump_windows, load_windows
from shoal_numerics.features.windows import FeatureWindows, StreamCounts, WindowRows

__all__ = [
    "MAX_STATE_BYTES",
    "FeatureWindows",
    "StreamCounts",
    "WindowPlan",
    "WindowRows",
    "begin_windows",
    "dump_windows",
    "load_windows",
]
