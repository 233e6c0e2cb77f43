"""Files in which the device's owner says what may happen on it: nobody else may have written them."""

import os
import stat
from pathlib import Path

from shoal_agent.errors import AgentError


class OwnerFileError(AgentError):
    """A file of the owner's could have been written by others, or is too large."""

    code = "owner_file"


def read_owned(path: Path, max_bytes: int) -> bytes:
    """Read a file that nobody but root and this user could have written.

    Args:
        path: The file.
        max_bytes: A larger one is refused.

    Raises:
        OwnerFileError: Others could have, or it is larger.
        OSError: It can not be read.
    """
    with path.open("rb") as file:
        found = os.fstat(file.fileno())
        if found.st_uid not in {0, os.geteuid()} or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            message = "others than root and the agent's user may write to it"
            raise OwnerFileError(message, f"chown it to the agent's user and chmod 600 {path}")
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise OwnerFileError(f"more than {max_bytes} bytes found", "make it shorter")
    return data
