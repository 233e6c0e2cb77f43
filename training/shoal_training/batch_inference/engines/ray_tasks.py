"""Ray: each part is a task, on a cluster that is there, or on a Ray that is started on this machine for the run.

Rows and answers travel through Ray, so that machines of a cluster need no folder in common.
"""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, ClassVar, Final

from shoal_training.batch_inference.engines.engine import Answer, Engine, EngineContext, Work, answered
from shoal_training.batch_inference.parts import Part
from shoal_training.errors import InferenceError
from shoal_training.launchers.ray_cluster import RayNotStartedError, Share, connected, ray_environment
from shoal_training.launchers.ray_process import STARTS

if TYPE_CHECKING:
    import pyarrow as pa

_LOOK_S: Final = 0.5
"""Between two looks at whether the run is cancelled, while a part is waited for."""
_SHOWN: Final = 500
"""Characters of what Ray says that an error shows."""


class RayEngine(Engine, Share):
    """Tasks of Ray; `workers` of them at once."""

    kind: ClassVar[str] = "ray"

    @property
    def ahead(self) -> int:
        """See `Engine`: one more than there are workers, so that none waits."""
        return self.workers + 1

    @property
    def threads_each(self) -> int:
        """See `Engine`."""
        return self.cpus

    def answers(self, work: Work, parts: Sequence[Part], context: EngineContext) -> Iterator[tuple[Part, Answer]]:
        """See `Engine`."""
        if not parts:
            return
        share = Share.model_validate(self.model_dump(include=set(Share.model_fields)))
        for name, value in ray_environment(share).items():
            os.environ.setdefault(name, value)  # and left there: Ray reads its token once in a process
        with ExitStack() as whole:
            _connect(share, whole)
            yield from self._answers(work, parts, context)

    def _answers(self, work: Work, parts: Sequence[Part], context: EngineContext) -> Iterator[tuple[Part, Answer]]:
        import ray

        task = ray.remote(_answer).options(**self.of_a_task(), max_retries=self.retries, retry_exceptions=False)
        held, waiting, running = ray.put(work), deque(parts), deque[tuple[Part, Any]]()
        try:
            while waiting or running:
                context.check_cancelled()
                while waiting and len(running) < self.ahead:
                    part = waiting.popleft()
                    running.append((part, task.remote(held, part, context.table(part))))
                part, asked = running[0]
                if ray.wait([asked], timeout=_LOOK_S)[0]:
                    yield part, self._answer_of(part, asked)
                    running.popleft()
        finally:
            for _, asked in running:
                ray.cancel(asked, force=True)

    def _answer_of(self, part: Part, asked: Any) -> Answer:  # noqa: ANN401 - Ray has no types
        import ray
        from ray.exceptions import RayError, RayTaskError

        try:
            answer: Answer = ray.get(asked)
        except RayTaskError as error:
            cause: Exception = error.cause
            raise cause from error
        except RayError as error:
            raise InferenceError(
                f"answering {part}: its worker was lost {self.retries + 1} times: {str(error)[:_SHOWN]}; it may need "
                "more memory than there is: make `part_rows` smaller"
            ) from error
        return answer


def _connect(share: Share, whole: ExitStack) -> None:
    """Be part of a cluster until the context ends; a Ray of this machine is started as often as `STARTS` says."""
    for left in reversed(range(STARTS)):
        with ExitStack() as one:
            temporary = one.enter_context(TemporaryDirectory(prefix="shoal-ray-", ignore_cleanup_errors=True))
            try:
                one.enter_context(connected(share, temporary))
            except RayNotStartedError:
                if not left:
                    raise
                continue
            whole.push(one.pop_all())
            return


def _answer(work: Work, part: Part, table: "pa.Table") -> Answer:
    return answered(work, part, table)
