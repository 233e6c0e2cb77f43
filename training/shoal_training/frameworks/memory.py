"""Sees before training that the machine has the memory for it: a process that is killed for want of it says nothing."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from shoal_compression.memory_needed import available_bytes
from shoal_training.errors import MemoryNeededError

COPIES_OF_WEIGHTS: Final = 7
"""Weights, gradients, two moments, the best so far, and twice what a checkpoint is written from."""
COPIES_OF_ACTIVATIONS: Final = 2
"""What a layer gives, and its gradient."""
FLOAT_BYTES: Final = 4
_GIB: Final = 1 << 30


def network_bytes(parameters: int, activations: int, batch: int) -> int:
    """Return about what training a network needs.

    Args:
        parameters: Numbers that are learned.
        activations: Numbers that its layers give for one sample.
        batch: Samples at once.
    """
    return FLOAT_BYTES * (COPIES_OF_WEIGHTS * parameters + COPIES_OF_ACTIVATIONS * activations * batch)


def check_room(needed_bytes: int, doing: str, available: int | None = None) -> None:
    """See that so much memory is free; where none is told, let it be.

    Args:
        needed_bytes: About what is needed.
        doing: For the error.
        available: Bytes that are free; None: those of this machine.

    Raises:
        MemoryNeededError: It is not.
    """
    free = available_bytes() if available is None else available
    if free is not None and needed_bytes > free:
        raise MemoryNeededError(
            f"{doing}: about {needed_bytes / _GIB:.1f} GiB of memory needed, {free / _GIB:.1f} GiB are free; take a "
            "smaller network or batch (`accumulate` keeps the step the same), or a machine with more"
        )


@contextmanager
def says_memory(doing: str) -> Iterator[None]:
    """Let what runs out of memory inside say so in one line, whichever framework it is.

    Raises:
        MemoryNeededError: It did.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not _is_memory(error):
            raise
        raise MemoryNeededError(
            f"{doing}: there is not enough memory ({str(error).strip().splitlines()[0][:200] if str(error) else 'none'}"
            " free); take a smaller network or batch (`accumulate` keeps the step the same), or a machine with more"
        ) from error


def _is_memory(error: Exception) -> bool:
    """Whether an error is one of memory: frameworks tell it by a class of their own, or only in its text."""
    names = {kind.__name__ for kind in type(error).__mro__}
    text = str(error).lower()
    return (
        isinstance(error, MemoryError)
        or bool(names & {"OutOfMemoryError"})
        or any(said in text for said in ("can't allocate memory", "out of memory", "failed to allocate"))
    )
