"""Where a compressed file comes from: what it was made of, by what, and what each step did to it."""

from typing import Any, Literal

from pydantic import Field

from shoal_compression.budget import Accelerator
from shoal_compression.model import Form
from shoal_compression.values import Record
from shoal_contract.ids import Sha256


class StepRecord(Record):
    """What one step made."""

    technique: str
    parameters: dict[str, Any]
    """All of them, defaults as well."""
    form: Form
    precision: str
    sha256: Sha256
    size_bytes: int = Field(ge=1)
    gzip_bytes: int = Field(ge=1)
    """What the file takes when it travels."""
    seconds: float = Field(ge=0)
    """When it was made, which may have been in an earlier run."""
    was_cut: bool = False
    """Whether the budget ended it before it had done all that it was to do."""
    budget_s: float | None = Field(default=None, ge=0)
    """The seconds that it had; with more of them, one that was cut is done again."""


class Lineage(Record):
    """Everything that has to be the same for the same file to be made again."""

    schema_version: Literal[1] = 1
    source_sha256: Sha256
    source_form: Form
    source_bytes: int
    recipe: dict[str, Any]
    """As canonical JSON holds it; `Recipe.model_validate` reads it."""
    recipe_sha256: Sha256
    data_fingerprint: Sha256
    tool_versions: dict[str, str]
    """By distribution, of all that had a part in it, Python as well."""
    seed: int
    threads: int
    accelerator: Accelerator
    steps: tuple[StepRecord, ...]
    """Those of the recipe, in their order."""
