"""`GET /metrics` of several workers: whichever is asked asks the others, and labels what each has counted."""

import http.client
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Final

import anyio
from anyio import to_thread
from pydantic import TypeAdapter, ValidationError

from shoal_agent.endpoint import Request, Response, Route, Router
from shoal_agent.metrics.exposition import CONTENT_TYPE, Family, Sample, exposition, gauge
from shoal_agent.metrics.routes import PATH
from shoal_agent.serving.cache import AnswerCache
from shoal_agent.serving.redis_cache import RedisCache

OWN_PATH: Final = "/worker"
_PATIENCE_S: Final = 2.0
_MAX_BYTES: Final = 4 * 1024 * 1024
_FAMILIES: Final = TypeAdapter(list[Family])
Own = Callable[[], list[Family]]


def own_router(own: Own) -> Router:
    """Return the router at which one worker tells its siblings what it has counted."""

    def answer(_: Request) -> Response:
        return Response((_FAMILIES.dump_json(own()),))

    return Router([Route(OWN_PATH, {"GET": answer})])


def merged_route(number: int, own: Own, siblings: Callable[[], Mapping[int, int]]) -> Route:
    """Return the route for Prometheus.

    Args:
        number: This worker's.
        own: Gives what this worker has counted; called in the event loop.
        siblings: The ports of all workers, by number.
    """

    async def answer(_: Request) -> Response:
        found: dict[int, list[Family] | None] = {number: own()}

        async def ask(sibling: int, port: int) -> None:
            found[sibling] = await to_thread.run_sync(partial(_ask, port))

        async with anyio.create_task_group() as group:
            for sibling, port in siblings().items():
                if sibling != number:
                    group.start_soon(ask, sibling, port)
        return Response((exposition(merge(found)),), content_type=CONTENT_TYPE)

    return Route(PATH, {"GET": answer})


def merge(found: Mapping[int, Iterable[Family] | None]) -> list[Family]:
    """Return the families of all workers, each sample labelled with its worker; None is one that does not answer."""
    merged: dict[str, Family] = {}
    for number, families in sorted(found.items()):
        for one in families or ():
            samples = tuple(sample._replace(labels={**sample.labels, "worker": str(number)}) for sample in one.samples)
            known = merged.get(one.name)
            merged[one.name] = Family(one.name, one.kind, one.help, (known.samples if known else ()) + samples)
    up = tuple(Sample(int(families is not None), {"worker": str(number)}) for number, families in sorted(found.items()))
    return [Family("shoal_serve_worker_up", "gauge", "Whether a worker answers.", up), *merged.values()]


def cache_families(cache: AnswerCache | None) -> list[Family]:
    """Return what became of look-ups in the cache of answers, if there is one."""
    if cache is None:
        return []
    families = [gauge("shoal_serve_cache_hit_ratio", "Share of look-ups that were hits.", cache.counts().hit_rate)]
    if isinstance(cache, RedisCache):
        told = cache.told
        failed = "Look-ups and writes of kept answers that failed or took too long."
        damaged = "Kept values that were no answers."
        families += [
            Family("shoal_serve_cache_failures_total", "counter", failed, (Sample(told.failures),)),
            Family("shoal_serve_cache_damaged_total", "counter", damaged, (Sample(told.damaged),)),
        ]
    return families


def _ask(port: int) -> list[Family] | None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE_S)
    try:
        connection.request("GET", OWN_PATH)
        return _FAMILIES.validate_json(connection.getresponse().read(_MAX_BYTES))
    except (OSError, http.client.HTTPException, ValidationError):
        return None
    finally:
        connection.close()
