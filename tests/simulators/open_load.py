"""Requests that come as they come, whatever became of those before: how long each took, and who answered."""

import asyncio
import math
import time
from dataclasses import dataclass, field
from statistics import quantiles

import httpx


@dataclass
class Outcome:
    """What became of requests, in seconds from when each was due; one that was refused took for ever."""

    took_s: list[float] = field(default_factory=list)
    by: list[str] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)

    @property
    def p99_s(self) -> float:
        """The time that one in a hundred took longer than."""
        return quantiles(self.took_s, n=100)[98]


async def as_they_come(url: str, body: object, every_s: float, lasts_s: float) -> Outcome:
    """Send a request every so often."""
    outcome = Outcome()

    async def ask(client: httpx.AsyncClient, due_s: float) -> None:
        answer = await client.post(url, json=body)
        is_answered = answer.status_code == httpx.codes.OK
        outcome.took_s.append(time.perf_counter() - due_s if is_answered else math.inf)
        outcome.statuses.append(answer.status_code)
        outcome.by.append(answer.headers.get("shoal-answered-by", "here"))

    limits = httpx.Limits(max_connections=200, max_keepalive_connections=200)
    async with httpx.AsyncClient(trust_env=False, timeout=30, limits=limits) as client, asyncio.TaskGroup() as group:
        started_s = time.perf_counter()
        for n in range(int(lasts_s / every_s)):
            due_s = started_s + n * every_s
            await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
            group.create_task(ask(client, due_s))
    return outcome
