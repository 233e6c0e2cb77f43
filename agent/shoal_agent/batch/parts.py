"""The files of a job: parts, each whole or not there, and the output and rejects that are put together of them.

Every file is written under another name, synced and renamed: a kill or a power cut leaves it as it was or whole.
"""

import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from shoal_agent.batch.answers import Gathered
from shoal_agent.batch.errors import BatchError
from shoal_agent.batch.forms import Form, JsonForm
from shoal_agent.batch.journal import Part
from shoal_agent.durable import make_folder, sync_folder


class Parts:
    """`<output>.parts/`, the output and the rejects.

    Args:
        output: Where the answers go.
        rejects: Where the rows without an answer go.
        form: The output's.
    """

    def __init__(self, output: Path, rejects: Path, form: Form) -> None:
        self._output = output
        self._rejects = rejects
        self._form = form
        self.folder = output.with_name(f"{output.name}.parts")

    def write(self, number: int, gathered: Gathered) -> None:
        """Make a part's files durable; nothing counts yet, the journal says what does.

        Raises:
            OSError: The disk does not take it.
        """
        make_folder(self.folder)
        if gathered.answered:
            _replace(self._answers(number), lambda path: self._form.write(gathered.columns(), path))
        if gathered.rejects:
            lines = "".join(json.dumps(reject, ensure_ascii=False) + "\n" for reject in gathered.rejects)
            _replace(self._reasons(number), lambda path: path.write_text(lines, encoding="utf-8"))

    def join(self, parts: Sequence[Part]) -> None:
        """Put output and rejects together, and into their places; without rejects there is no file of them.

        Raises:
            BatchError: A part is not there.
            OSError: The disk does not take it.
        """
        answers = [self._answers(part.number) for part in parts if part.answered]
        reasons = [self._reasons(part.number) for part in parts if part.rejected]
        for path in (*answers, *reasons):
            if not path.exists():
                message = f"putting {self._output} together: {path} is not there, and its journal says that it is"
                raise BatchError(message, "begin anew: run the same command with --restart")
        if reasons:
            _replace(self._rejects, lambda path: JsonForm().join(reasons, path))
        else:
            self._rejects.unlink(missing_ok=True)
        _replace(self._output, lambda path: self._form.join(answers, path))

    def clear(self) -> None:
        """Delete the parts."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _answers(self, number: int) -> Path:
        return self.folder / f"part-{number:06d}{self._output.suffix}"

    def _reasons(self, number: int) -> Path:
        return self.folder / f"rejects-{number:06d}.jsonl"


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file elsewhere, sync it, and put it into its place."""
    temporary = path.with_name(f".{path.name}.new")
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)  # on a full disk even a part of a file is in the way
        raise
    sync_folder(path.parent)
