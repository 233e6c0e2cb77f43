"""What an operator asks of a training at the hub, and what comes of it."""

from typing import Annotated

from pydantic import Base64Bytes, BaseModel, ConfigDict, Field, field_validator

from shoal_contract.ids import Name
from shoal_hub.requests import Text
from shoal_hub.tracking.files import check_path
from shoal_training.pipeline.reading import MAX_BYTES
from shoal_training.pipeline.recording import PIPELINE_FILE

MAX_FILES = 256
MAX_PRIORITY = 100


class TrainingRequest(BaseModel):
    """A pipeline, and the small files that it names."""

    model_config = ConfigDict(frozen=True)

    pipeline: Annotated[Text, Field(min_length=1, max_length=MAX_BYTES)]
    """The text of its file."""
    files: Annotated[dict[str, Base64Bytes], Field(max_length=MAX_FILES)] = Field(default_factory=dict)
    """By their paths beside the pipeline file, in base64."""
    is_registered: bool = False
    """Whether what comes of it is registered as the model's next version."""
    aliases: Annotated[tuple[Name, ...], Field(max_length=16)] = ()
    """Of that version; one is enough to have it registered."""
    is_fresh: bool = False
    """Whether steps are done again that were done before."""
    priority: Annotated[int, Field(ge=-MAX_PRIORITY, le=MAX_PRIORITY)] = 0

    @field_validator("files")
    @classmethod
    def _check_names(cls, files: dict[str, bytes]) -> dict[str, bytes]:
        for name in files:
            check_path(name)
            if name == PIPELINE_FILE:
                msg = f"a file is called {name}, as the pipeline's own is here; rename it"
                raise ValueError(msg)
        return files


class TrainingParams(BaseModel):
    """The job's parameters."""

    model_config = ConfigDict(frozen=True)

    run: str
    """The tracked run, which holds the pipeline and its files."""
    is_registered: bool = False
    aliases: tuple[str, ...] = ()
    is_fresh: bool = False


class TrainingResult(BaseModel):
    """What a training came to."""

    model: str
    version: int | None
    """That was registered; None: none was asked for."""
    run: str
    metrics: dict[str, float]
    cached_steps: int
    """That an earlier training had done."""


class TrainingPublic(BaseModel):
    """A training that was begun: its job, its run, and the model that it trains."""

    job: str
    run: str
    model: str
