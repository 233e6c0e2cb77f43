"""The baselines of versions whose windows come, kept read: a version's is fixed once it is registered."""

from collections import OrderedDict
from typing import Any, Final, NamedTuple
from weakref import WeakKeyDictionary

from pydantic import ValidationError
from sqlalchemy import Engine, String, bindparam, cast
from sqlalchemy import select as select_columns
from sqlmodel import Session, col

from shoal_contract.manifest import Baseline
from shoal_hub.bulk import Query
from shoal_hub.monitoring.quarantine import QuarantineError
from shoal_hub.monitoring.screening import Screen
from shoal_hub.monitoring.sketches import reference_of
from shoal_hub.registry.tables import Version
from shoal_numerics import Histogram, NumericsError

KEPT: Final = 32
"""Baselines of a database that are kept read, those whose windows came last; one of 30 features has about 300 kB."""


class Known(NamedTuple):
    """A version's baseline, and what is held against windows again and again; nobody changes any of it."""

    baseline: Baseline
    reference: Histogram
    screen: Screen


def known_baseline(session: Session, model: str, version: int) -> Known:
    """Return the baseline of a version.

    Raises:
        QuarantineError: There is no such version, or nothing can be counted by its baseline.
    """
    kept = _kept.setdefault(session.connection().engine, OrderedDict())
    known = kept.get((model, version))
    if known is None:
        known = kept[model, version] = _read(session, model, version)
        if len(kept) > KEPT:
            kept.popitem(last=False)
    else:
        kept.move_to_end((model, version))
    return known


def _read(session: Session, model: str, version: int) -> Known:
    rows = _TEXT.rows(session, model=model, number=version)
    if not rows:
        raise QuarantineError("unknown_version", f"reading a window: {model} has no version {version}")
    try:
        baseline = Baseline.model_validate_json(rows[0][0])
        reference = reference_of(baseline)
    except (ValidationError, NumericsError) as error:
        raise _unusable(model, version, str(error)) from error
    if not reference.row_count:
        raise _unusable(model, version, "it has counted no rows, expected at least one")
    categorical = [at for at, one in enumerate(baseline.features) if one.is_categorical]
    return Known(baseline, reference, Screen(reference, categorical))


def _unusable(model: str, version: int, found: str) -> QuarantineError:
    where = f"reading a window of {model} version {version}"
    message = f"{where}: its baseline cannot be counted by: {found}; register the version again"
    return QuarantineError("unusable_baseline", message)


_kept: "WeakKeyDictionary[Engine, OrderedDict[tuple[str, int], Known]]" = WeakKeyDictionary()
_COLUMNS: Final[list[Any]] = [cast(col(Version.baseline), String)]
_TEXT: Final = Query(
    select_columns(*_COLUMNS).where(
        col(Version.model) == bindparam("model"), col(Version.number) == bindparam("number")
    )
)
