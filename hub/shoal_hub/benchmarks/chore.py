"""Brings running benchmarks on, tick by tick."""

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import select as select_columns
from sqlmodel import col

from shoal_hub.benchmarks.offer import offer_more
from shoal_hub.benchmarks.tables import Benchmark
from shoal_hub.bulk import Query
from shoal_hub.database import Database, is_one_of

LOOK: Final = timedelta(seconds=15)
"""How long it takes until devices are looked for again where too few were there: 0.6 s of CPU for 100,000 on SQLite."""
_RUNNING: Final = Query(select_columns(col(Benchmark.id)).where(is_one_of(col(Benchmark.state), ("running",))))


class BenchmarkOffers:
    """Has benchmarks offered to another device where one takes too long, and ended when they are over.

    Args:
        database: Where they are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._looks_at: dict[str, datetime] = {}
        """When devices are looked for again, by benchmark; it does not hurt to forget it."""

    def step(self, now: datetime) -> int:
        """Bring each running benchmark on, and return how many there are."""
        with self._database.session() as session:
            running = [benchmark_id for (benchmark_id,) in _RUNNING.rows(session)]
        self._looks_at = {key: at for key, at in self._looks_at.items() if key in running and at > now}
        for benchmark_id in running:
            with self._database.transaction() as session:
                row = session.get_one(Benchmark, benchmark_id, with_for_update=True)
                if offer_more(session, row, now, looks=benchmark_id not in self._looks_at):
                    self._looks_at[benchmark_id] = now + LOOK
        return len(running)
