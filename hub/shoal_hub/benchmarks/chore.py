"""Brings running benchmarks on, tick by tick."""

from datetime import datetime
from typing import Final

from sqlalchemy import select as select_columns
from sqlmodel import col

from shoal_hub.benchmarks.offer import offer_more
from shoal_hub.benchmarks.tables import Benchmark
from shoal_hub.bulk import Query
from shoal_hub.database import Database, is_one_of

_RUNNING: Final = Query(select_columns(col(Benchmark.id)).where(is_one_of(col(Benchmark.state), ("running",))))


class BenchmarkOffers:
    """Has benchmarks offered to another device where one takes too long, and ended when they are over.

    Args:
        database: Where they are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def step(self, now: datetime) -> int:
        """Bring each running benchmark on, and return how many there are."""
        with self._database.session() as session:
            running = [benchmark_id for (benchmark_id,) in _RUNNING.rows(session)]
        for benchmark_id in running:
            with self._database.transaction() as session:
                offer_more(session, session.get_one(Benchmark, benchmark_id, with_for_update=True), now)
        return len(running)
