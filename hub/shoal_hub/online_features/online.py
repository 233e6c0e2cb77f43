"""Online features of one hub process: the views that there are, and the store that has their values."""

import threading
import time
from collections.abc import Callable, Collection, Sequence
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from sqlmodel import Session

from shoal_contract.feature_views import FeatureView
from shoal_hub.database import Database
from shoal_hub.errors import NotFoundError, SettingsError
from shoal_hub.online_features.redis_store import SCHEMES, RedisStore
from shoal_hub.online_features.sqlite_store import SqliteStore
from shoal_hub.online_features.store import OnlineStore
from shoal_hub.online_features.tables import OnlineView
from shoal_hub.online_features.values import OnlineValue, shown
from shoal_hub.settings import Settings

STORE_FILE: Final = "online-features.sqlite"
_KNOWN_S: Final = 1.0
"""For so long another process may read a view as it was before it was changed."""


class _Known(NamedTuple):
    view: FeatureView
    until_s: float


class OnlineFeatures:
    """Reads entities' features. Safe for use by several threads; the store is opened when it is first asked for.

    Args:
        settings: Where the store is.
        database: Where the views are.
        clock_ns: The time in ns since 1970.
        monotonic_s: Seconds that never go back.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        clock_ns: Callable[[], int] = time.time_ns,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings, self._database = settings, database
        self._clock_ns, self._monotonic_s = clock_ns, monotonic_s
        self._lock = threading.Lock()
        self._store: OnlineStore | None = None
        self._known: dict[str, _Known] = {}

    @property
    def store(self) -> OnlineStore:
        """Where values are.

        Raises:
            SettingsError: It is none that can be opened.
            UnavailableError: It can not be opened now.
        """
        with self._lock:
            if self._store is None:
                self._store = _open(self._settings, self._clock_ns)
            return self._store

    def view(self, name: str) -> FeatureView:
        """Return a view.

        Raises:
            NotFoundError: There is none of the name.
        """
        known = self._known.get(name)
        if known is None or known.until_s < self._monotonic_s():
            with self._database.session() as session:
                found = FeatureView.model_validate(find_view(session, name).body)
            known = self._known[name] = _Known(found, self._monotonic_s() + _KNOWN_S)
        return known.view

    def changed(self, name: str) -> None:
        """Have a view read anew."""
        self._known.pop(name, None)

    def read(
        self, view: str, entities: Sequence[str], features: Collection[str] | None = None
    ) -> list[dict[str, OnlineValue]]:
        """Return the features of each entity by name, all of a view or some; one that is not known has fallbacks.

        Raises:
            NotFoundError: There is no such view.
            UnavailableError: The store does not answer.
        """
        known = self.view(view)
        now_ns = self._clock_ns()
        return [shown(known, held, now_ns, features) for held in self.store.read(view, entities)]

    def close(self) -> None:
        """Let go of the store."""
        if self._store is not None:
            self._store.close()


def find_view(session: Session, name: str) -> OnlineView:
    """Return a view's row.

    Raises:
        NotFoundError: There is none.
    """
    found = session.get(OnlineView, name)
    if found is None:
        raise NotFoundError(f"no view {name} of online features", "list them: shoal features views")
    return found


def _open(settings: Settings, clock_ns: Callable[[], int]) -> OnlineStore:
    url = settings.online_features_url
    if not url:
        return SqliteStore(settings.data / STORE_FILE, clock_ns)
    scheme = urlsplit(url).scheme
    if scheme not in SCHEMES:
        raise SettingsError(
            f"opening the store of online features: an address that begins with {scheme}: found",
            "set SHOAL_ONLINE_FEATURES_URL to redis://HOST:PORT/0, or leave it empty",
        )
    return RedisStore(url)
