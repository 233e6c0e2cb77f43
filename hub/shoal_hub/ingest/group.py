"""The name of the shared subscription: a secret, as the broker lets any device join a group whose name it knows."""

import secrets
from pathlib import Path

from shoal_hub.trust import files


def read_shared_group(data: Path) -> str:
    """Return the group's name; made at first use, the same for every ingest process on this data folder."""
    path = data / "shared-group"
    with files.locked(data / "trust"):
        if not path.exists():
            files.write_private(path, secrets.token_hex(16).encode())
    return path.read_text()
