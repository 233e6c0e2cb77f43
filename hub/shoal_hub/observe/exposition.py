"""All that the hub tells Prometheus, put together; what the database says is kept for a while, read by one at a time.

However often somebody asks, it costs at most a hundredth of a core, or what one reading a minute does. Nobody waits
long for a database that does not answer: what was read before is told.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Final, NamedTuple

from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session

from shoal_contract import __version__
from shoal_hub.counting import processes_collector
from shoal_hub.database import Database, utc_now
from shoal_hub.meters import METERS
from shoal_hub.observe.activity import activity_families
from shoal_hub.observe.fleet import device_families, report_families
from shoal_hub.observe.processes import process_families
from shoal_hub.observe.quality import Quality
from shoal_hub.settings import Settings

log = logging.getLogger(__name__)

_REST_RATIO: Final = 100.0
"""What was read is told again for this many times what the reading took."""
_MOST_REST_S: Final = 60.0
"""But no longer than this, unless `SHOAL_METRICS_FRESH_S` says so: one slow reading must not freeze the numbers."""
_TURN_S: Final = 3.0
"""How long a scrape waits for another's reading before it tells what is kept: less than Prometheus waits for it."""


class Answer(NamedTuple):
    """What a scraper gets: the text and its media type."""

    content: bytes
    content_type: str


class _Section:
    """Families that are read together, and kept."""

    def __init__(self, name: str, read: Callable[[Session, datetime], Iterable[Metric]]) -> None:
        self.name = name
        self._read = read
        self.families: Sequence[Metric] = ()
        self.took_s = 0.0
        self._due_s = float("-inf")

    def refresh(self, database: Database, now: datetime, fresh_s: float) -> None:
        """Read them, if it is time to; what cannot be read leaves a gap, as a number that stands still would lie."""
        began_s = time.monotonic()
        if began_s < self._due_s:
            return
        rest_s = min(fresh_s, _MOST_REST_S)
        try:
            with database.session() as session:
                self.families = list(self._read(session, now))
        except SQLAlchemyError:
            log.exception("reading the metrics of %s failed; they are left out until it works again", self.name)
            self.families = ()
            self.took_s = time.monotonic() - began_s
        else:
            self.took_s = time.monotonic() - began_s
            rest_s = max(fresh_s, min(_REST_RATIO * self.took_s, _MOST_REST_S))
        self._due_s = began_s + self.took_s + rest_s


class HubMetrics:
    """Answers scrapes. Safe to use from several threads: one reads, the others wait for it, but not for long.

    Args:
        database: The hub's.
        settings: The hub's.
        now: The clock.
    """

    def __init__(self, database: Database, settings: Settings, now: Callable[[], datetime] = utc_now) -> None:
        self._database = database
        self._settings = settings
        self._now = now
        self._lock = threading.Lock()
        most = settings.metrics_max_versions
        quality = Quality(timedelta(seconds=settings.metrics_window_s), most)
        self._sections = (
            _Section("devices", lambda session, _: device_families(session)),
            _Section("reports", lambda session, _: report_families(session)),
            _Section("activity", partial(_activity, most)),
            _Section("models", quality.families),
        )

    def answer(self, accept: str = "") -> Answer:
        """Return the metrics in the form that a scraper prefers, Prometheus' text or OpenMetrics.

        Args:
            accept: The header `Accept` of the request.
        """
        encode, content_type = choose_encoder(accept)
        return Answer(encode(self), content_type)

    def collect(self) -> Iterator[Metric]:
        """Yield every family."""
        engine = self._database.engine
        info = {"version": __version__, "database": engine.dialect.name}
        yield InfoMetricFamily("shoal_hub", "The hub's version, and what keeps its data.", info)
        self._refresh()
        took = [(section.name, section.took_s) for section in self._sections]
        yield from [one for section in self._sections for one in section.families]
        text = "What it took to read these metrics of the database, the last time."
        family = GaugeMetricFamily("shoal_metrics_read_duration_seconds", text, labels=["section"])
        for name, took_s in took:
            family.add_metric([name], took_s)
        yield family
        yield from process_families(self._settings)
        yield from _pool(engine.pool)
        yield from processes_collector(METERS).collect()

    def _refresh(self) -> None:
        """Read what it is time to read, unless another scrape is at it for long."""
        if not self._lock.acquire(timeout=_TURN_S):
            return
        try:
            for section in self._sections:
                section.refresh(self._database, self._now(), self._settings.metrics_fresh_s)
        finally:
            self._lock.release()


def _activity(most: int, session: Session, now: datetime) -> Iterator[Metric]:
    return activity_families(session, now, most)


def _pool(pool: object) -> Iterator[Metric]:
    """Yield how many connections of this process's pool are in use; a pool of another kind has no such number."""
    in_use = getattr(pool, "checkedout", None)
    if callable(in_use):
        text = "Connections to the database that requests of the API hold now."
        yield GaugeMetricFamily("shoal_database_connections_in_use", text, in_use())
