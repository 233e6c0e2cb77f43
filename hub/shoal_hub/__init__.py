"""The hub: registry, rollouts, trust, federation and monitoring for a fleet, and the operators' CLI.

Needs Python 3.11 and the extra `hub`; a device needs neither.
"""

import importlib.util
import sys

if sys.version_info < (3, 11):  # the distribution installs on 3.10 for the agent's sake
    msg = "shoal_hub needs Python 3.11 or newer; on a device use shoal_agent, which runs on 3.10"
    raise ImportError(msg)
if any(importlib.util.find_spec(name) is None for name in ("fastapi", "sqlmodel", "alembic")):
    msg = "shoal_hub needs the extra `hub`: install it with  pip install 'shoal[hub]'"
    raise ImportError(msg)
