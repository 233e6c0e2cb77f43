"""What went into runs and what came out of them: data sets, as their clients describe them, and logged models."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlmodel import Session, col, select

from shoal_hub.database import is_among
from shoal_hub.errors import InvalidInputError
from shoal_hub.tracking.tables import Dataset, InputKind, RunInput, TrackedRun
from shoal_hub.tracking.upsert import add_new

_MAX_NAME = 500
_MAX_DIGEST = 36


@dataclass(frozen=True)
class DatasetInput:
    """A data set, and what a run took it for."""

    name: str
    digest: str
    source_type: str
    source: str
    schema_text: str
    profile: str
    context: str


@dataclass(frozen=True)
class ModelLink:
    """A logged model that a run took or made, and at which step."""

    kind: InputKind
    model: str
    step: int


def log_datasets(session: Session, run: TrackedRun, datasets: Sequence[DatasetInput]) -> None:
    """Note what data an active run was given; what is noted already is left.

    Raises:
        InvalidInputError: A data set has no name or no digest, or one that is too long.
    """
    rows, links = [], []
    for one in datasets:
        if not (0 < len(one.name) <= _MAX_NAME and 0 < len(one.digest) <= _MAX_DIGEST):
            raise InvalidInputError(
                f"logging the data set {one.name[:80]!r}: its name has 1 to {_MAX_NAME} characters and its digest 1 to "
                f"{_MAX_DIGEST}, {len(one.name)} and {len(one.digest)} found",
                "name it shorter",
            )
        number = hashlib.sha256(json.dumps([run.experiment, one.name, one.digest]).encode()).hexdigest()
        described = {"source_type": one.source_type, "source": one.source, "schema_text": one.schema_text}
        rows.append(
            {"id": number, "experiment": run.experiment, "name": one.name, "digest": one.digest, "profile": one.profile}
            | described
        )
        links.append({"run": run.id, "kind": "dataset", "target": number, "step": 0, "context": one.context})
    add_new(session, Dataset, rows)
    add_new(session, RunInput, links)


def link_models(session: Session, run: TrackedRun, links: Sequence[ModelLink]) -> None:
    """Note which logged models an active run took or made."""
    rows = [{"run": run.id, "kind": one.kind, "target": one.model, "step": one.step, "context": ""} for one in links]
    add_new(session, RunInput, rows)


def datasets_of(session: Session, runs: Iterable[str]) -> dict[str, list[DatasetInput]]:
    """Return the data sets of runs, in the order of their names."""
    wanted = select(RunInput, Dataset).join(Dataset, col(Dataset.id) == col(RunInput.target))
    mine = wanted.where(is_among(col(RunInput.run), runs), RunInput.kind == "dataset")
    found: dict[str, list[DatasetInput]] = defaultdict(list)
    for link, row in session.exec(mine.order_by(col(Dataset.name), col(Dataset.digest))):
        described = (row.name, row.digest, row.source_type, row.source, row.schema_text, row.profile)
        found[link.run].append(DatasetInput(*described, link.context))
    return found


def models_of(session: Session, runs: Iterable[str]) -> dict[str, list[ModelLink]]:
    """Return the logged models that runs took or made, in the order of steps."""
    wanted = select(RunInput).where(is_among(col(RunInput.run), runs), RunInput.kind != "dataset")
    found: dict[str, list[ModelLink]] = defaultdict(list)
    for row in session.exec(wanted.order_by(col(RunInput.step), col(RunInput.target))):
        found[row.run].append(ModelLink(row.kind, row.target, row.step))
    return found
