"""Predicts what a run's files take on boards of which no device has measured, by what earlier files took there.

A file's operators are found on this machine; the stated error is that of earlier files whose operators were found the
same way, so that it tells of all that differs between here and the board. Files of a model that was profiled are left
out one by one; for another model all files of each are left out together, and the error is far larger.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Final

from pydantic import BaseModel, ConfigDict

from shoal_compression.errors import DataError, SourceError
from shoal_compression.predictor.operators import FileProfile, is_blocked
from shoal_compression.predictor.predictor import MIN_FILES, LatencyPredictor, StatedError
from shoal_hub.compression.described import Describer
from shoal_hub.compression.profiles import ProfiledFile
from shoal_numerics.operator_profile import Operator
from shoal_numerics.tensors import Array

log = logging.getLogger(__name__)
PREDICTED_RUNTIME: Final = "onnxruntime"
_MOST_RATIO: Final = 4.0
"""Between the multiplications that a device tells of a file and those found here: blocks of channels are rounded up."""


class PredictedLatency(BaseModel):
    """Of a file, on the slowest board of a class."""

    model_config = ConfigDict(frozen=True)

    latency_ms: float
    low_ms: float
    """As far off as the worst prediction of the board was above what was measured; `high_ms`: below it."""
    high_ms: float
    board: str
    unknown: tuple[str, ...] = ()
    """Kinds of operators of which the board has profiled too few, or far smaller ones: those of all kinds count."""


class ClassPredictions(BaseModel):
    """Of the files of a run, for a target class."""

    model_config = ConfigDict(frozen=True)

    files: dict[str, PredictedLatency] = {}
    """By name; none where nothing can be predicted."""
    problems: dict[str, str] = {}
    """Why others are not among them."""
    errors: dict[str, StatedError] = {}
    """Of each board."""
    missing: dict[str, int] = {}
    """Boards of which too few files are known, and of how many that is."""


def predict(
    model: str,
    files: Mapping[str, str],
    feeds: Mapping[str, Array],
    profiled: Mapping[str, Sequence[ProfiledFile]],
    describer: Describer,
) -> ClassPredictions:
    """Return what files are predicted to take on a class; the slowest of its boards counts.

    Args:
        model: What they are versions of: of a network that was profiled more is known than of another one.
        files: Hash of each ONNX file, by name.
        feeds: One request of theirs.
        profiled: What devices of the class have profiled, by board.
        describer: Finds operators.
    """
    found: dict[str, PredictedLatency] = {}
    problems: dict[str, str] = {}
    errors: dict[str, StatedError] = {}
    missing: dict[str, int] = {}
    for board, known in sorted(profiled.items()):
        blocked = is_blocked([one.profile for one in known])
        try:
            predictor = _fit(board, known, model, describer, is_blocked=blocked)
        except DataError as error:
            log.info("%s", error)
            missing[board] = len(_networks(known))
            continue
        errors[board] = predictor.error
        for name, sha256 in files.items():
            try:
                operators = describer.operators(sha256, feeds, is_blocked=blocked)
            except SourceError as error:
                problems[name] = str(error)
                continue
            told = predictor.predict(operators)
            if name not in found or told.latency_ms > found[name].latency_ms:
                found[name] = PredictedLatency(board=board, **told.model_dump())
    return ClassPredictions(files=found, problems=problems, errors=errors, missing=missing)


def how_to_profile(target_class: str, model: str, predictions: ClassPredictions | None) -> str:
    """Return why latency is not predicted for a class, and what to do for it."""
    missing = predictions.missing if predictions is not None else {}
    known = ", ".join(f"{files} of {board}" for board, files in sorted(missing.items())) or "none"
    return (
        f"no device of {target_class} has measured, and to predict its latency the operators of at least {MIN_FILES} "
        f"different ONNX files of {model}, or of files of {MIN_FILES} models, have to be known of one of its boards: "
        f"{known} found; compress with {MIN_FILES - 1} recipes or more while a device of the class is online"
    )


def _fit(
    board: str, known: Sequence[ProfiledFile], model: str, describer: Describer, *, is_blocked: bool
) -> LatencyPredictor:
    kept: list[ProfiledFile] = []
    described: dict[str, tuple[Operator, ...]] = {}
    for one in known:
        name = one.profile.name
        operators = describer.again(name, one.inputs, is_blocked=is_blocked)
        if operators is not None and not _are_alike(one.profile.operators, operators):
            log.warning("%s has told operators that are not those of the file %s; they are left out", board, name[:12])
            continue
        kept.append(one)
        if operators is not None:
            described[name] = operators
    profiles = [one.profile for one in kept]
    if len(_networks([one for one in kept if one.model == model])) >= MIN_FILES:
        # Versions may differ in their weights alone: one would be learnt from the other.
        return LatencyPredictor.fit(board, profiles, _network, described)
    models = {one.profile.name: one.model for one in kept}
    return LatencyPredictor.fit(board, profiles, lambda one: models[one.name], described)


def _network(profile: FileProfile) -> str:
    return repr(profile.operators)


def _networks(files: Sequence[ProfiledFile]) -> set[str]:
    """Return what tells files apart that do not differ in their weights alone."""
    return {_network(one.profile) for one in files}


def _are_alike(told: Sequence[Operator], found: Sequence[Operator]) -> bool:
    """Whether operators do about as much."""
    one, other = (1 + sum(operator.macs for operator in operators) for operators in (told, found))
    return max(one, other) <= _MOST_RATIO * min(one, other)
