"""The model card as it is shown: what the makers said in the bundle, merged with what the hub measured and knows."""

import re
from collections.abc import Iterable, Sequence
from datetime import datetime

from pydantic import BaseModel, ConfigDict

from shoal_hub.errors import InvalidInputError
from shoal_hub.registry.tables import VariantRow, Version
from shoal_training.bundle import ONNX_FILE
from shoal_training.model_card import ModelCard

_OWN_LICENCE = re.compile(r"\bLicenseRef-[A-Za-z0-9.-]+")
_LICENCE_REMEDY = (
    "name an SPDX licence expression in model-card.json, like Apache-2.0 or LicenseRef-ours (spdx.org/licenses)"
)


class VariantFigures(BaseModel):
    """What was measured of one variant."""

    model_config = ConfigDict(frozen=True)

    target: str
    precision: str
    technique: str
    size_bytes: int
    accuracy: float | None
    latency_p50_ms: float | None
    sha256: str


class VersionCard(BaseModel):
    """The card of one version; `card` is empty where the bundle has none."""

    model_config = ConfigDict(frozen=True)

    model: str
    version: int
    created_at: datetime
    author: str
    algorithm: str
    framework: str
    metrics: dict[str, float]
    """Of the float32 original on the held-out samples."""
    original_bytes: int
    """Size of the float32 ONNX file that variants are measured against."""
    data_sha256: str
    card: ModelCard
    variants: tuple[VariantFigures, ...]
    warnings: tuple[str, ...]


def check_licence(licence: str, *, is_required: bool) -> None:
    """Check the licence of a card.

    Raises:
        InvalidInputError: It is no SPDX expression, or missing where the hub asks for one.
    """
    if not licence:
        if is_required:
            raise InvalidInputError(
                "registering a version: it names no licence, and this hub asks for one", _LICENCE_REMEDY
            )
        return
    from cyclonedx import spdx  # reads the list of licences, half a second

    # A licence of one's own stands in an expression like any other; the list of SPDX cannot know it.
    if not spdx.is_expression(_OWN_LICENCE.sub("MIT", licence)):
        raise InvalidInputError(
            f"reading the model card: {licence[:80]!r} is no SPDX licence expression", _LICENCE_REMEDY
        )


def warnings_of(version: Version) -> list[str]:
    """Return what a version should have and has not."""
    if version.card is None:
        return ["it has no model card: add model-card.json to the bundle", "it names no licence"]
    return [] if version.licence else ["it names no licence: add one to model-card.json"]


def version_card(version: Version, variants: Sequence[VariantRow], original_bytes: int) -> VersionCard:
    """Return a version's card with what was measured."""
    return VersionCard(
        model=version.model,
        version=version.number,
        created_at=version.created_at,
        author=version.author,
        algorithm=version.algorithm,
        framework=version.framework,
        metrics=version.metrics,
        original_bytes=original_bytes,
        data_sha256=version.provenance["data_sha256"],
        card=ModelCard.model_validate(version.card or {}),
        variants=tuple(_figures(row) for row in variants),
        warnings=tuple(warnings_of(version)),
    )


def to_markdown(card: VersionCard) -> str:
    """Return a card as a Markdown page; what people wrote stands in it as plain text."""
    said = card.card
    texts = {
        "Intended use": said.intended_use,
        "Out-of-scope use": said.out_of_scope_use,
        "Data": said.data,
        "Limits": said.limits,
        "Ethical notes": said.ethical_notes,
    }
    facts = {
        "Licence": said.licence or "not stated",
        "Owner": said.owner or "not stated",
        "Contact": said.contact or "not stated",
        "Author": card.author,
        "Algorithm": card.algorithm,
        "Framework": card.framework,
        "Registered": card.created_at.isoformat(timespec="seconds"),
    }
    parts = [f"# {card.model} version {card.version}", *(f"> Warning: {warning}" for warning in card.warnings)]
    parts.append("\n".join(f"- {name}: {as_line(value)}" for name, value in facts.items()))
    for title, text in texts.items():
        parts.append(f"## {title}\n\n{_paragraphs(text) or 'Not stated.'}")
        if title == "Data":
            parts.append(f"Fingerprint (SHA-256): `{card.data_sha256}`")
    parts += ["## Metrics", *_tables(card), *_assessed(said)]
    return "\n\n".join(parts) + "\n"


def _tables(card: VersionCard) -> list[str]:
    within = {one.metric: _within(one.low, one.high) for one in card.card.metric_intervals}
    measured = [(name, f"{value:.4g}{within.get(name, '')}", "all", "") for name, value in card.metrics.items()]
    measured += [
        (
            one.metric,
            f"{one.value:.4g}{_within(one.low, one.high)}",
            one.slice,
            "" if one.samples is None else f"{one.samples}{' (few)' if one.is_small else ''}",
        )
        for one in card.card.metrics_by_slice
    ]
    original = ("original", "float32", "", str(card.original_bytes), _number(card.metrics.get("accuracy")), "")
    rows = [original] + [
        (
            one.target,
            one.precision,
            one.technique,
            str(one.size_bytes),
            _number(one.accuracy),
            _number(one.latency_p50_ms),
        )
        for one in card.variants
    ]
    return [
        _table(("metric", "value", "slice", "samples"), measured),
        "## Variants",
        _table(("target", "precision", "technique", "bytes", "accuracy", "p50 ms"), rows),
    ]


def _assessed(said: ModelCard) -> list[str]:
    """Return the sections of what a pipeline has assessed besides; none where it has not."""
    parts = [f"Held out: {as_line(said.validation)}"] if said.validation else []
    if said.champion is not None:
        one = said.champion
        shown = f"{one.value:.4g} beside {one.champion_value:.4g}, better by {one.difference:.4g}"
        told = f"{one.verdict} in {one.metric}: {shown}{_within(one.low, one.high)}"
        parts += ["## Champion", f"Beside {as_line(one.champion)} it is {as_line(told)}."]
    if said.fairness:
        fair = [
            (
                one.slice,
                one.measure.replace("_", " "),
                f"{one.value:.4g}{_within(one.low, one.high)}",
                "" if one.limit is None else f"{one.limit:g}, {'kept' if one.is_within else 'not kept'}",
            )
            for one in said.fairness
        ]
        parts += ["## Fairness", _table(("by", "measure", "value", "limit"), fair)]
    if said.explained is not None and said.explained.importances:
        rows = [(one.feature, _number(one.permutation), _number(one.shap)) for one in said.explained.importances]
        head = ("feature", f"permutation: {as_line(said.explained.metric)} lost", "mean size of SHAP values")
        parts += ["## What its answers depend on", _table(head, rows)]
    return parts


def _within(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f" ({low:.4g} to {high:.4g})"


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *([as_line(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def as_line(text: str) -> str:
    """Return a text as one line of Markdown that shows it as it is: it neither ends its line nor its cell."""
    return _paragraphs(" ".join(text.split()))


def _paragraphs(text: str) -> str:
    """Return a text as Markdown that shows it as it is: what would be markup, HTML or a control character is none."""
    shown = "".join(one if one.isprintable() or one == "\n" else " " for one in text)
    shown = re.sub(r"([\\`*_{}\[\]<>#|!~&])", r"\\\1", shown)
    shown = re.sub(r"^[ \t]+", "", shown, flags=re.MULTILINE)
    # At the beginning of a line these make lists, rules and headings.
    shown = re.sub(r"^([-+=])", r"\\\1", shown, flags=re.MULTILINE)
    return re.sub(r"^(\d+)([.)])(?=\s|$)", r"\1\\\2", shown, flags=re.MULTILINE)


def original_file(version: Version) -> str:
    """Return the hash of the float32 ONNX file, which variants are measured against; empty where there is none."""
    return version.files.get(ONNX_FILE, "")


def _figures(row: VariantRow) -> VariantFigures:
    return VariantFigures.model_validate(row.model_dump() | {"technique": row.report.get("technique", "")})
