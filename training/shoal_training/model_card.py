"""The model card of a version: what its makers say of it, as `model-card.json` in the bundle.

After Mitchell et al. 2019, "Model Cards for Model Reporting" (arXiv 1810.03993). A pipeline adds what it measured of
the model, the registry what it measured of the variants.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints


def _storable(value: object) -> object:
    if isinstance(value, str) and ("\x00" in value or any("\ud800" <= character <= "\udfff" for character in value)):
        msg = "holds a NUL or half a surrogate pair, which text cannot keep"
        raise ValueError(msg)
    return value


Text = Annotated[str, BeforeValidator(_storable), StringConstraints(max_length=8192, strip_whitespace=True)]
Line = Annotated[str, BeforeValidator(_storable), StringConstraints(max_length=256, strip_whitespace=True)]

Finite = Annotated[float, Field(allow_inf_nan=False)]


class SliceMetric(BaseModel):
    """One metric on one part of the data, like accuracy on the images taken at night."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    slice: Line
    metric: Line
    value: float = Field(allow_inf_nan=False)
    samples: int | None = Field(default=None, ge=0, le=2**53)
    low: Finite | None = None
    """Of the 95 % interval."""
    high: Finite | None = None
    is_small: bool = False
    """Whether there are so few samples that the value says little."""


class MetricInterval(BaseModel):
    """How far one of the version's metrics may be off for want of samples, and over folds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    metric: Line
    low: Finite | None = None
    """Of the 95 % interval, on the samples that were held out."""
    high: Finite | None = None
    is_rising: bool = True
    """Whether more is better."""
    fold_mean: Finite | None = None
    """Over all folds of the validation scheme; None: there is one."""
    fold_deviation: Finite | None = None
    folds: int | None = Field(default=None, ge=2, le=1000)


class FeatureImportance(BaseModel):
    """How much the model depends on one feature."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    feature: Line
    permutation: Finite | None = None
    """By how much the metric is worse where the feature is shuffled."""
    shap: Finite | None = None
    """Mean size of its SHAP values."""


class Explained(BaseModel):
    """What the model's answers depend on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    importances: tuple[FeatureImportance, ...] = Field(default=(), max_length=256)
    """The most important one first."""
    metric: Line = ""
    """That `permutation` is in the unit of."""
    samples: int | None = Field(default=None, ge=0, le=2**53)
    shap_method: Line = ""
    shap_unit: Line = ""
    shap_samples: int | None = Field(default=None, ge=0, le=2**53)


class FairnessFigure(BaseModel):
    """One difference between protected groups."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    slice: Line
    """The column that parts the groups."""
    measure: Literal["demographic_parity_difference", "demographic_parity_ratio", "equalised_odds_difference"]
    value: Finite
    low: Finite | None = None
    high: Finite | None = None
    limit: Finite | None = None
    """That the makers have set."""
    is_within: bool = True


class ChampionFigures(BaseModel):
    """The version beside the one that was in use, on the same samples."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    champion: Line
    metric: Line
    champion_value: Finite
    value: Finite
    difference: Finite
    """Above 0 the version is better, whichever way the metric runs."""
    low: Finite | None = None
    high: Finite | None = None
    margin: Finite = 0.0
    verdict: Literal["better", "no worse", "worse", "uncertain"]
    p_value: Finite | None = None
    """Of McNemar's exact test."""
    samples: int | None = Field(default=None, ge=0, le=2**53)


class ModelCard(BaseModel):
    """What the makers of a version say about it; what is left out stays empty."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    intended_use: Text = ""
    out_of_scope_use: Text = ""
    data: Text = ""
    """Where the data is from, how it was chosen, and what it leaves out."""
    metrics_by_slice: tuple[SliceMetric, ...] = Field(default=(), max_length=256)
    metric_intervals: tuple[MetricInterval, ...] = Field(default=(), max_length=256)
    validation: Line = ""
    """By which scheme samples were held out, and how many."""
    explained: Explained | None = None
    fairness: tuple[FairnessFigure, ...] = Field(default=(), max_length=256)
    champion: ChampionFigures | None = None
    limits: Text = ""
    ethical_notes: Text = ""
    licence: Line = ""
    """An SPDX licence expression, like Apache-2.0 or LicenseRef-ours."""
    owner: Line = ""
    contact: Line = ""
