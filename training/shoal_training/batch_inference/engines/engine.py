"""What an engine is: a few fields that say where and with how much, parts and work in, answers out in order.

An engine is data, from a batch inference's file; its kinds are in `engines`, and `checks` holds each to this word.
Spark, Beam, Dask or a cloud's batch service would be one more class here: see ADR 41.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Protocol

from pydantic import Field

from shoal_compression.values import Value
from shoal_training.batch_inference.parts import Part
from shoal_training.errors import CancelledError, InferenceError, TrainingError

if TYPE_CHECKING:
    import pyarrow as pa


class Answer(NamedTuple):
    """What came of a part.

    Attributes:
        table: Its answers in the order of its rows; None: no row has one.
        refused: Why rows have none, by their place in the part.
    """

    table: "pa.Table | None"
    refused: dict[int, str]


class Work(Protocol):
    """What is done with a part; it can be pickled, and gives the same answer to the same rows wherever it runs."""

    def __call__(self, part: Part, table: "pa.Table") -> Answer:
        """Answer a part's rows.

        Raises:
            TrainingError: It can not; trying again would not help.
        """


@dataclass(frozen=True)
class EngineContext:
    """What goes with a run of an engine.

    Attributes:
        table: Reads the rows of a part, in this process.
        is_cancelled: Whether the run is to end; looked at between parts, and at least each second while waiting.
        folder: That an engine may write to.
    """

    table: "Callable[[Part], pa.Table]"
    is_cancelled: Callable[[], bool] = lambda: False
    folder: Path = field(default_factory=Path)

    def check_cancelled(self) -> None:
        """See that the run goes on.

        Raises:
            CancelledError: It is to end.
        """
        if self.is_cancelled():
            raise CancelledError("answering rows: the run was cancelled; parts that were written stay")


class Engine(Value, ABC):
    """Where parts are answered. Subclasses name their `kind`, declare fields, and answer.

    What each has to keep:

    - Answers come in the order of the parts, one for each, and are what the work gives in this process.
    - At most `ahead` parts more than were taken are held in memory or sent away.
    - An error of the work (a TrainingError) is raised by its class once the answers before it were taken; it is not
      tried again. Any other error becomes an InferenceError that names the part.
    - A part whose worker is lost is tried again up to `retries` times, then it is an InferenceError that names it.
    - Where `is_cancelled` says so, CancelledError is raised, and nothing that was started is left running.
    """

    kind: ClassVar[str]
    """By which a file names it."""

    retries: int = Field(default=2, ge=0, le=100)
    """Of a part, where its worker is lost."""

    @property
    @abstractmethod
    def ahead(self) -> int:
        """Parts that may be under way at once."""

    @property
    @abstractmethod
    def threads_each(self) -> int | None:
        """Threads of the CPU for the work of one part; None: all."""

    @abstractmethod
    def answers(self, work: Work, parts: Sequence[Part], context: EngineContext) -> Iterator[tuple[Part, Answer]]:
        """Answer parts; see the class.

        Raises:
            TrainingError: As the work says.
            InferenceError: The work fails in another way, or its workers are lost too often.
            CancelledError: The run was cancelled.
        """


def answered(work: Work, part: Part, table: "pa.Table") -> Answer:
    """Do the work, and let errors that are none of ours name the part.

    Raises:
        TrainingError: As the work says; others as InferenceError.
    """
    try:
        return work(part, table)
    except TrainingError:
        raise
    except Exception as error:
        raise InferenceError(f"answering {part}: {type(error).__name__}: {str(error)[:500]}") from error
