"""The job that holds a candidate against the champion on held-out samples, in each form that both have."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import AwareDatetime, BaseModel, ConfigDict
from sqlmodel import Session

from shoal_compression.data import Samples
from shoal_compression.model import Model
from shoal_compression.running import scores_of
from shoal_contract.manifest import TensorSpec
from shoal_hub.automation.judge import Score, Source
from shoal_hub.automation.samples import Labelled, captured_samples, read_labelled
from shoal_hub.errors import JobError
from shoal_hub.jobs.work import JobWork
from shoal_hub.registry.bundle_files import restore_bundle
from shoal_hub.registry.tables import VariantRow, Version
from shoal_hub.registry.versions import find_variants, find_version
from shoal_numerics.class_choice import chosen_classes
from shoal_training.bundle import ONNX_FILE, TEST_FILE
from shoal_training.onnx_samples import OnnxModel

_ORIGINAL = "original"
Labels = NDArray[np.int64]
Predict = Callable[[Labelled], Labels]
"""Returns the chosen label of each sample."""


class EvaluateParams(BaseModel):
    """The job's parameters."""

    model_config = ConfigDict(frozen=True)

    model: str
    champion: int
    candidate: int
    captured_since: AwareDatetime
    is_trained_on_captures: bool = False
    """Then only captured samples that never train are taken."""


class EvaluateResult(BaseModel):
    """What both predicted right, by source of the samples and form of the models."""

    scores: list[Score]


def run(work: JobWork) -> EvaluateResult:
    """Run both versions on the champion's held-out samples and on captured ones with a true label.

    Raises:
        JobError: The versions have other inputs or labels, or there is nothing to run them on.
    """
    params = EvaluateParams.model_validate(work.params)
    folder = work.folder / "versions"
    shutil.rmtree(folder, ignore_errors=True)  # a job that is done again starts anew
    with work.database.session() as session:
        champion = find_version(session, params.model, str(params.champion))
        candidate = find_version(session, params.model, str(params.candidate))
        inputs = _inputs(champion, candidate)
        captured = _captured(session, work, params, champion, inputs)
        variants = [{one.target: one for one in find_variants(session, row)} for row in (champion, candidate)]
    for row in (champion, candidate):
        restore_bundle(work.artifacts, row, folder / str(row.number))
    bundled = read_labelled(folder / str(champion.number) / TEST_FILE, inputs)
    sources: list[tuple[Source, Labelled]] = [("captured", captured)]
    if bundled is not None:
        sources.insert(0, ("bundle", bundled))
    if not any(len(samples) for _, samples in sources):
        raise JobError(
            f"comparing versions of {params.model}: there are no held-out samples with labels",
            "capture labelled samples, or register bundles whose test.npz has `y`",
        )
    scores: list[Score] = []
    forms = [_ORIGINAL, *sorted(variants[0].keys() & variants[1].keys())]
    for done, form in enumerate(forms):
        work.progress("compare", done, len(forms))
        versions = zip((champion, candidate), variants, strict=True)
        pair = [_predictor(work, row, by.get(form), folder, inputs) for row, by in versions]
        scores += [_score(source, form, samples, pair[0], pair[1]) for source, samples in sources if len(samples)]
    shutil.rmtree(folder)
    return EvaluateResult(scores=scores)


def _inputs(champion: Version, candidate: Version) -> list[TensorSpec]:
    """Return the inputs of both.

    Raises:
        JobError: They are not the same, or samples do not lie along their first axis.
    """
    same = [(one.inputs, one.outputs, one.labels, one.batching) for one in (champion, candidate)]
    where = f"comparing versions {champion.number} and {candidate.number} of {champion.model}"
    if same[0] != same[1]:
        raise JobError(f"{where}: their inputs, outputs or labels differ", "train the candidate from the champion")
    if champion.batching is not None:
        raise JobError(f"{where}: a request of the model is one sample", "compare them in a trial instead")
    return [TensorSpec.model_validate(one) for one in champion.inputs]


def _captured(
    session: Session, work: JobWork, params: EvaluateParams, champion: Version, inputs: list[TensorSpec]
) -> Labelled:
    return captured_samples(
        session,
        work.artifacts,
        params.model,
        inputs,
        since=params.captured_since,
        classes=_classes(champion),
        held_out=True if params.is_trained_on_captures else None,
    )


def _classes(version: Version) -> int:
    shape = version.outputs[0]["shape"]
    return len(version.labels) or int(shape[-1])


def _predictor(
    work: JobWork, version: Version, variant: VariantRow | None, folder: Path, inputs: list[TensorSpec]
) -> Predict:
    """Return what chooses a label for each sample: the version as it was registered, or one of its variants."""
    output = str(version.outputs[0]["name"])
    if variant is None:
        model = OnnxModel(folder / str(version.number) / ONNX_FILE, [output])

        def by_onnx(samples: Labelled) -> Labels:
            return chosen_classes(np.concatenate([found[output] for found in model.runs(samples.inputs)]))

        return by_onnx
    path = folder / f"{version.number}-{variant.target}.{variant.format}"
    work.artifacts.copy_to(variant.sha256, path)
    outputs = tuple(TensorSpec.model_validate(one) for one in version.outputs)
    compressed = Model(variant.format, path.read_bytes(), tuple(inputs), outputs)  # type: ignore[arg-type]  # as the contract has it

    def by_variant(samples: Labelled) -> Labels:
        return chosen_classes(scores_of(compressed, Samples(samples.inputs)))

    return by_variant


def _score(source: Source, form: str, samples: Labelled, champion: Predict, candidate: Predict) -> Score:
    right = [int((predict(samples) == samples.labels).sum()) for predict in (champion, candidate)]
    return Score(source=source, form=form, samples=len(samples), champion=right[0], candidate=right[1])
