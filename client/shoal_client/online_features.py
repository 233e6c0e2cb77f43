"""Online features: what the API says of them, and its routes as methods."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, Final

from shoal_client.fleet import Value
from shoal_client.transport import Transport

ROWS_AT_ONCE: Final = 1000
Scalar = float | int | bool | str | None


class OnlineView(Value):
    """A view; `view` is its features as they stand in a file."""

    name: str
    view: dict[str, Any]
    set_by: str
    set_at: datetime


class OnlineValue(Value):
    """A feature as it is now: the latest value or its fallback, and how old the latest is."""

    value: Scalar
    at: datetime | None
    age_s: float | None
    is_fresh: bool
    is_fallback: bool


class OnlineEntity(Value):
    """An entity's features."""

    entity: str
    is_known: bool
    features: dict[str, OnlineValue]


class Written(Value):
    """How many rows were sent, and how many of them are now the latest."""

    rows: int
    kept: int


class OnlineFeatures:
    """The latest values of entities' features."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self) -> list[OnlineView]:
        """List views by name."""
        return self._transport.call("GET", "/online-features", list[OnlineView])

    def define(self, view: str, body: Mapping[str, Any]) -> OnlineView:
        """Make a view, or change its features."""
        return self._transport.call("PUT", f"/online-features/{view}", OnlineView, json=dict(body))

    def show(self, view: str) -> OnlineView:
        """Return a view."""
        return self._transport.call("GET", f"/online-features/{view}", OnlineView)

    def forget(self, view: str) -> OnlineView:
        """Forget a view with all its values."""
        return self._transport.call("DELETE", f"/online-features/{view}", OnlineView)

    def put(self, view: str, rows: Iterable[Mapping[str, Any]]) -> Written:
        """Keep values, `ROWS_AT_ONCE` at a time.

        Args:
            view: The view.
            rows: Each with `entity`, `at` (ISO 8601 or an aware time) and `values` by feature.
        """
        sent = kept = 0
        left = iter(rows)
        while some := list(islice(left, ROWS_AT_ONCE)):
            told = self._transport.call("PUT", f"/online-features/{view}/values", Written, json=_json(some))
            sent, kept = sent + told.rows, kept + told.kept
        return Written(rows=sent, kept=kept)

    def get(self, view: str, entities: Sequence[str], features: Sequence[str] = ()) -> "Sequence[OnlineEntity]":
        """Return the features of entities, all of a view or some."""
        params = {"entity": list(entities), **({"feature": list(features)} if features else {})}
        return self._transport.call("GET", f"/online-features/{view}/values", list[OnlineEntity], params=params)


def _json(rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    return {"rows": [{**row, "at": at.isoformat() if isinstance(at := row["at"], datetime) else at} for row in rows]}
