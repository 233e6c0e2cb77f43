"""Which commit of which code trained a version, where the code lies in a git work tree."""

import subprocess
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

_TIMEOUT_S = 10.0


class CodeRecord(BaseModel):
    """The code of a training, as git names it."""

    model_config = ConfigDict(frozen=True)

    commit: str = Field(pattern=r"^([0-9a-f]{40}|[0-9a-f]{64})$")
    is_dirty: bool
    """Whether files of the work tree differed from the commit."""


def code_record(program: Path) -> CodeRecord | None:
    """Return the commit that a program's file is of, or nothing where git does not track that file.

    A virtual environment often lies inside of some work tree that knows nothing of it, so being inside is not enough.
    """
    folder = program.resolve().parent
    if _git(folder, "ls-files", "--error-unmatch", program.name) is None:
        return None
    commit, changes = _git(folder, "rev-parse", "HEAD"), _git(folder, "status", "--porcelain", "--untracked-files=no")
    return CodeRecord(commit=commit, is_dirty=bool(changes)) if commit and changes is not None else None


def _git(folder: Path, *arguments: str) -> str | None:
    """Return what git prints, or nothing where there is no git, no commit or no work tree."""
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
