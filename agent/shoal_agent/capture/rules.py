"""What may be captured, as the device's owner wrote it: which samples of which models, how much, who redacts them."""

import sys
from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from typing_extensions import Self

from shoal_agent.capture.errors import CaptureError
from shoal_agent.owner_file import OwnerFileError, read_owned
from shoal_contract.ids import Name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MAX_FILE_BYTES: Final = 64 * 1024
_HOW: Final = "see docs/guides/capture.md for its form"


class CaptureRule(BaseModel):
    """Which samples of one model are kept: those that any of these picks."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    share: float = Field(default=0.0, ge=0, le=1)
    """Of all samples, at random."""
    confidence_below: float = Field(default=0.0, ge=0, le=1)
    """Those whose highest score is less."""
    disagreement: bool = False
    """Those for which a trial's two versions choose different labels."""
    classes: tuple[Annotated[int, Field(ge=0, le=1_000_000)], ...] = Field(default=(), max_length=1024)
    """Those that get one of these labels, as places among the model's outputs from 0."""
    features_outside: int = Field(default=0, ge=0, le=1_000_000)
    """Those with at least so many features below the first or above the last edge of the baseline; 0: not asked."""
    share_of_drifted: float = Field(default=0.0, ge=0, le=1)
    """Of all samples, at random, while this device's own evidence says that the version's inputs have drifted."""
    send: bool = True
    """Whether the hub may have them, where `--send-captures` lets any out."""

    @model_validator(mode="after")
    def _check_any(self) -> Self:
        asked = (self.share, self.confidence_below, self.disagreement, self.classes, self.features_outside)
        if not (any(asked) or self.share_of_drifted):
            msg = "give share, confidence_below, disagreement, classes, features_outside or share_of_drifted"
            raise ValueError(msg)
        return self


class CaptureRules(BaseModel):
    """The file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    models: dict[Name, CaptureRule] = Field(max_length=64)
    redact: tuple[str, ...] = Field(default=(), max_length=64)
    """Program and arguments; it gets each sample as .npz and gives it back. No shell reads it."""
    redact_timeout_s: float = Field(default=10.0, gt=0, le=600)
    max_mb: float = Field(default=100.0, gt=0, le=1_000_000)
    """What captured samples take on the disk; for a new one the oldest go."""
    max_mb_per_day: float = Field(default=10.0, gt=0, le=1_000_000)
    """What may be kept in a day of UTC."""
    max_samples_per_day: int = Field(default=1000, ge=1, le=10_000_000)
    """What may be kept in a day of UTC, whatever its size."""
    max_samples_per_request: int = Field(default=4, ge=1, le=1024)
    max_mb_sent_per_day: float = Field(default=10.0, gt=0, le=1_000_000)
    """What may be sent to the hub in a day of UTC, where `--send-captures` lets any out."""
    max_sample_bytes: int = Field(default=1_000_000, ge=1, le=64_000_000)
    """A larger sample is not kept."""


_FILE: Final = TypeAdapter(CaptureRules)


def read_rules(path: Path) -> CaptureRules | None:
    """Return the owner's rules; None where there is no file, and nothing is captured.

    Raises:
        CaptureError: The file is none of its form, or others than its owner could have written to it.
    """
    doing = f"reading the rules of capture in {path}"
    try:
        return _FILE.validate_python(tomllib.loads(read_owned(path, MAX_FILE_BYTES).decode()))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OwnerFileError as error:
        raise CaptureError(f"{doing}: {error}", error.remedy) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise CaptureError(f"{doing}: {where}: {first['msg']}", _HOW) from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CaptureError(f"{doing}: {error}", _HOW) from error
