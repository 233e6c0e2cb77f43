"""Defines views, forgets them, and takes values for them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlmodel import Session, func, select

from shoal_contract.feature_views import FeatureView
from shoal_hub.audit.requests import note_outside
from shoal_hub.errors import ConflictError, InvalidInputError
from shoal_hub.events.record import record_event
from shoal_hub.online_features.online import OnlineFeatures, find_view
from shoal_hub.online_features.store import KEPT_TWICE, OnlineRow
from shoal_hub.online_features.tables import OnlineView

MAX_VIEWS: Final = 1000


def define_view(session: Session, name: str, view: FeatureView, *, by: str, now: datetime) -> OnlineView:
    """Make a view, or change which features it has; values of features that it keeps stay.

    Raises:
        ConflictError: There are too many.
    """
    body = view.model_dump(mode="json")
    found = session.get(OnlineView, name)
    if found is not None and found.body == body:
        return found
    if found is None:
        if session.exec(select(func.count()).select_from(OnlineView)).one() >= MAX_VIEWS:
            raise ConflictError(
                f"defining view {name}: there are {MAX_VIEWS}, which are all that are kept",
                "forget one: shoal features forget",
            )
        found = OnlineView(name=name, body=body, set_by=by, set_at=now)
    found.body, found.set_by, found.set_at = body, by, now
    session.add(found)
    record_event(session, "online_view_set", f"view {name} set by {by}", subject=f"online-features/{name}", at=now)
    return found


def forget_view(session: Session, online: OnlineFeatures, name: str, *, by: str) -> OnlineView:
    """Forget a view and its values.

    Raises:
        NotFoundError: There is none.
        UnavailableError: The store does not answer; the view is still there.
    """
    found = find_view(session, name)
    online.store.forget(name)
    session.delete(found)
    record_event(session, "online_view_forgotten", f"view {name} forgotten by {by}", subject=f"online-features/{name}")
    return found


def write_rows(session: Session, online: OnlineFeatures, name: str, rows: Sequence[OnlineRow]) -> int:
    """Keep values of a view; return how many rows are now the latest.

    Raises:
        NotFoundError: There is no such view.
        InvalidInputError: A row has a feature that the view does not.
        UnavailableError: The store does not answer.
    """
    view = FeatureView.model_validate(find_view(session, name).body)
    for number, row in enumerate(rows, 1):
        unknown = sorted(row.values.keys() - view.features.keys())
        if unknown:
            raise InvalidInputError(
                f"writing row {number} of view {name}: there is no feature {', '.join(unknown)[:200]}, only "
                f"{', '.join(sorted(view.features))[:500]}",
                "leave it out, or add it to the view: shoal features define",
            )
    kept = online.store.write(name, rows, KEPT_TWICE * view.longest_ttl_s)
    note_outside(session, f"online-features/{name}/values", {}, {"rows": len(rows), "kept": kept})
    return kept
