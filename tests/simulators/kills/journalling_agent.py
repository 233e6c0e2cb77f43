"""The quick agent with a journal of its models' roles: `python -m tests.simulators.kills.journalling_agent DATA`.

All else is the agent as it is; the journal, `DATA/roles.jsonl`, is what a test believes rather than the agent's word.
"""

import logging
import sys
from pathlib import Path

from tests.simulators.quick_agent import settings

from shoal_agent import daemon
from shoal_agent.simulated.journal import JournalledSlots
from shoal_agent.slots import SlotFile, open_slot_file


def open_journalled(models_dir: Path, name: str) -> SlotFile:
    """Open a model's roles, those of what serves with a journal."""
    if models_dir.name != "models":
        return open_slot_file(models_dir, name)
    return JournalledSlots(models_dir, name, models_dir.parent / "roles.jsonl")


if __name__ == "__main__":
    logging.basicConfig(level="INFO", format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    vars(daemon)["open_slot_file"] = open_journalled
    daemon.run_agent(settings(Path(sys.argv[1])))
