"""Entry of the hub's processes: `python -m shoal_hub.processes NAME`."""

import importlib
import logging
import os
import sys

from shoal_hub.redaction import install_logging
from shoal_hub.settings import Settings
from shoal_hub.trust.files import PRIVATE_UMASK

NAMES = ("api", "ingest", "controller")


def main() -> None:
    """Run the process that the command line names, with the settings of the environment."""
    if len(sys.argv) != 2 or sys.argv[1] not in NAMES:  # noqa: PLR2004 - the program and one name
        sys.exit(f"usage: python -m shoal_hub.processes {'|'.join(NAMES)}")
    os.umask(PRIVATE_UMASK)
    install_logging()
    logging.getLogger("tuf").setLevel(logging.WARNING)  # it tells of every key that has not signed, as it looks
    module = importlib.import_module(f"shoal_hub.processes.{sys.argv[1]}")
    module.run(Settings.read(os.environ))


if __name__ == "__main__":
    main()
