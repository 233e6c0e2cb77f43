"""Which code does which kind of job: a module with `run(work) -> BaseModel`, imported in the job's process only."""

import importlib
from collections.abc import Callable
from typing import Final

from pydantic import BaseModel

from shoal_hub.errors import JobError
from shoal_hub.jobs.work import JobWork

KINDS: Final = {
    "batch-inference": "shoal_hub.batch_inference.work",
    "compress": "shoal_hub.registry.compress",
    "compression": "shoal_hub.compression.make",
    "compression-choose": "shoal_hub.compression.choose",
    "delta": "shoal_hub.transfer.make_delta",
    "evaluate": "shoal_hub.automation.evaluate",
    "federated": "shoal_hub.federation.run",
    "train": "shoal_hub.automation.train",
    "training": "shoal_hub.training.make",
}
WAITING_KINDS: Final = frozenset({"compression-choose", "federated"})
"""Jobs that mostly wait for devices, or take a moment: they start at once, whatever else runs."""


def code_of(kind: str) -> Callable[[JobWork], BaseModel]:
    """Return the function that does jobs of this kind.

    Raises:
        JobError: This hub knows no such kind.
    """
    if kind not in KINDS:
        raise JobError(f"starting a job: no kind {kind!r}", "a newer hub made this job; start that version again")
    code: Callable[[JobWork], BaseModel] = importlib.import_module(KINDS[kind]).run
    return code
