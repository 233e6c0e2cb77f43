"""The model card of a version: what its makers say of it, as `model-card.json` in the bundle.

After Mitchell et al. 2019, "Model Cards for Model Reporting" (arXiv 1810.03993). What is measured, the registry adds.
"""

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints


def _storable(value: object) -> object:
    if isinstance(value, str) and ("\x00" in value or any("\ud800" <= character <= "\udfff" for character in value)):
        msg = "holds a NUL or half a surrogate pair, which text cannot keep"
        raise ValueError(msg)
    return value


Text = Annotated[str, BeforeValidator(_storable), StringConstraints(max_length=8192, strip_whitespace=True)]
Line = Annotated[str, BeforeValidator(_storable), StringConstraints(max_length=256, strip_whitespace=True)]


class SliceMetric(BaseModel):
    """One metric on one part of the data, like accuracy on the images taken at night."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    slice: Line
    metric: Line
    value: float = Field(allow_inf_nan=False)
    samples: int | None = Field(default=None, ge=0, le=2**53)


class ModelCard(BaseModel):
    """What the makers of a version say about it; what is left out stays empty."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    intended_use: Text = ""
    out_of_scope_use: Text = ""
    data: Text = ""
    """Where the data is from, how it was chosen, and what it leaves out."""
    metrics_by_slice: tuple[SliceMetric, ...] = Field(default=(), max_length=256)
    limits: Text = ""
    ethical_notes: Text = ""
    licence: Line = ""
    """An SPDX licence expression, like Apache-2.0 or LicenseRef-ours."""
    owner: Line = ""
    contact: Line = ""
