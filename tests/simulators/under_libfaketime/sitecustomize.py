"""What Python runs first under libfaketime: sleep another way.

Since 3.11 `time.sleep` waits until a monotonic time, which libfaketime 0.9.10, Debian 12's, moves by mistake although
it is told to leave that clock alone; the kernel then refuses the negative time. `select` waits for a duration.
"""

import select
import time
from typing import SupportsIndex


def _sleep(seconds: float | SupportsIndex) -> None:
    select.select([], [], [], float(seconds))


time.sleep = _sleep
